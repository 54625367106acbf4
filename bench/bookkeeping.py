"""What it costs to watch a run and to compare sampler and trainer: the share of a step, at the demo's scale.

`python bench/bookkeeping.py [RUN]` takes a finished demo run (`make demo`) and reads `timing_s/bookkeeping`, the
seconds that the trainer spent on comparing, naming and counting, against the seconds of each step. What runs elsewhere
is timed here: phases that begin and end in the agent loop and the reward worker, and the comparison inside the loss.
Runs with and without it differ by less than two runs of the same thing do on two cores, so this adds up instead.
"""

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from gr_vl import watchdog

ANSWERS, TOKENS = 96, 112
"""Answers of a demo step, and tokens at most of each."""
LIMIT = 0.02


def main() -> int:
    """0 if the bookkeeping takes at most 2% of the steps."""
    run = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo")
    rows = [json.loads(line)["data"] for path in (run / "rl").glob("metrics-*.jsonl") for line in path.open()]
    steps = [row for row in rows if "timing_s/bookkeeping" in row]
    step = statistics.median(row["timing_s/step"] for row in steps)
    driver = statistics.mean(row["timing_s/bookkeeping"] for row in steps)
    phases, loss = seconds(phase_of_each_answer), seconds(gap_of_a_minibatch)
    share = (driver + phases + loss) / step
    print(f"{len(steps)} steps, median {step:.2f} s; bookkeeping {share:.2%} of it")
    print(f"trainer {driver * 1e3:.1f} ms, phases {phases * 1e3:.2f} ms, comparison in the loss {loss * 1e3:.2f} ms")
    return int(share > LIMIT)


def seconds(work: Callable[[], object], times: int = 20) -> float:
    """Median seconds of a call."""
    taken = []
    for _ in range(times):
        begin = time.perf_counter()
        work()
        taken.append(time.perf_counter() - begin)
    return statistics.median(taken)


_pulse = watchdog.Pulse(Path(tempfile.mkdtemp(prefix="bookkeeping_")))


def phase_of_each_answer() -> None:
    """A rollout and a reward phase for every answer."""
    for index in range(2 * ANSWERS):
        _pulse.end(_pulse.begin("rollout", f"sample-{index}"))


def gap_of_a_minibatch() -> None:
    """What the first mini-batch of a step adds to its loss: a third of the answers."""
    one = torch.zeros(ANSWERS // 3, TOKENS)
    gap = (one - one).abs()[one == 0].nan_to_num(nan=torch.inf)
    gap.mean().item(), gap.max().item()


if __name__ == "__main__":
    sys.exit(main())
