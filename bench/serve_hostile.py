"""Fire N malformed requests at `gr-vl serve` and check that each is refused with a 4xx and that nothing leaks.

    python bench/serve_hostile.py runs/demo/rl/model 10000 [SEED]

Draws from the table of tests/malformed.py (the 33 MiB body once in 500 draws), eight connections at a time. Prints the
statuses, and memory, open files and threads before and after; a well-formed request must have the same answer before
and after. Exits 1 when one of these does not hold. Memory is allowed 64 MiB after a warm-up of one round of the table.
"""

import random
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from guarded import served
from malformed import ALL, HUGE, fire

GROWTH_MB = 64
GOOD = {"input": "Tell me about the blue tower.", "think": False}


def main(model: str, count: int, seed: int) -> int:
    """Fire and check; returns the exit code."""
    draw = random.Random(seed)
    small = sorted(name for name in ALL if not name.startswith("huge"))
    huge = [f"huge: {name}" for name in HUGE]
    drawn = [draw.choice(huge if draw.random() < 1 / 500 else small) for _ in range(count)]
    with served(model) as server:
        before_answer = server.post(GOOD)[1]["results"][0]["category_scores"]
        for name in [*small, *huge]:
            fire(server.port, ALL[name])
        before, began = server.usage(), time.perf_counter()
        with ThreadPoolExecutor(8) as pool:
            statuses = list(pool.map(lambda name: fire(server.port, ALL[name]), drawn))
        seconds = time.perf_counter() - began
        after_answer = server.post(GOOD)[1]["results"][0]["category_scores"]
        time.sleep(1)
        after = server.usage()
    bad = Counter((name, status) for name, status in zip(drawn, statuses, strict=True) if not 400 <= status < 500)
    print(f"{count} requests in {seconds:.0f} s, statuses {dict(sorted(Counter(statuses).items()))}")
    print(f"not refused: {dict(bad)}")
    for name, was, now in zip(("resident MiB", "open files", "threads"), before, after, strict=True):
        print(f"{name}: {was:.0f} before, {now:.0f} after")
    grown = after[0] - before[0] > GROWTH_MB or after[1] > before[1]
    return int(bool(bad) or grown or before_answer != after_answer)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1))
