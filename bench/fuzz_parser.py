"""Mutate valid answers N times and compare the parser with a strict, independent reading of the grammar.

    python bench/fuzz_parser.py 1000000 [SEED]

Exits 1 on any exception, and on any well-formed verdict that the strict reading refuses or reads otherwise.
"""

import random
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from grammar import mutated, strict_reading

from gr_vl import dialects
from gr_vl.schema import ParseFailure, Task


def disagreement(text: str) -> str:
    """What is wrong with how `text` is parsed; empty when nothing is."""
    try:
        outcome = dialects.get("guardreasoner_vl").parse(text)
    except Exception as error:
        return f"raised {error!r}"
    if isinstance(outcome, ParseFailure) or not outcome.well_formed:
        return ""
    said, strict = tuple(outcome.labels[task] for task in (Task.PROMPT, Task.RESPONSE)), strict_reading(text)
    return "" if said == strict else f"accepted {said}, strictly {strict}"


def main(count: int, seed: int) -> int:
    """Fuzz; returns the exit code."""
    draw, begin, accepted = random.Random(seed), time.perf_counter(), 0
    for _ in range(count):
        text = mutated(draw)
        problem = disagreement(text)
        if problem:
            print(f"{problem}: {text!r}")
            return 1
        accepted += strict_reading(text) is not None
    print(f"{count} strings, {accepted} valid, no disagreement, {time.perf_counter() - begin:.0f} s, seed {seed}")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000, int(sys.argv[2]) if len(sys.argv) > 2 else 1))
