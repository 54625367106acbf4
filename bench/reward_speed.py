"""How fast rewards score on one core: parsed answers, whole texts, and the worst texts of the tests.

    python bench/reward_speed.py [PRESET]

Target: 100,000 parsed answers a second through `paper`, and no batch of pathological answers over 2 s.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from hostile import GOOD, HOSTILE

from gr_vl.schema import Label, Task
from rewards import SafetyReward

LABELS = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}
ANSWERS, GROUP, ROUNDS = 16_384, 16, 5


def best(work: Callable[[], object]) -> float:
    """Seconds of the fastest of some rounds."""
    seconds = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return min(seconds)


def main(preset: str) -> None:
    """Measure and print."""
    reward = SafetyReward.from_config({"preset": preset}, "guardreasoner_vl")
    step = "The request names a thing, and the rulebook allows it.\n"
    texts = [GOOD.replace("a\n", step * (i % 16)).replace(": harmful", ": unharmful", i % 2) for i in range(ANSWERS)]
    readings = [reward.read(text, LABELS, reasoning_tokens=20 * (i % 16)) for i, text in enumerate(texts)]
    groups = [readings[i : i + GROUP] for i in range(0, ANSWERS, GROUP)]
    single = best(lambda: [reward.score(reading) for reading in readings])
    grouped = best(lambda: [reward.score_group(group) for group in groups])
    whole = best(lambda: [reward(text, LABELS, reasoning_tokens=80) for text in texts])
    print(f"{preset}, {ANSWERS} answers of {sum(map(len, texts)) / ANSWERS:.0f} characters, best of {ROUNDS}")
    print(f"parsed, one by one       {ANSWERS / single:>10,.0f} answers/s")
    print(f"parsed, groups of {GROUP}     {ANSWERS / grouped:>10,.0f} answers/s")
    print(f"with parsing             {ANSWERS / whole:>10,.0f} answers/s")
    worst = [text for text in HOSTILE.values() if len(text) > 10**5]
    seconds = best(lambda: [reward(text, LABELS, reasoning_tokens=1) for text in worst])
    print(f"{len(worst)} pathological answers of {sum(map(len, worst)) / 2**20:.0f} MB in all: {seconds:.3f} s")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "paper")
