"""What it costs to watch a run and to compare sampler and trainer: the share of a step, at the demo's scale.

`python bench/bookkeeping.py [RUN] [STEPS]` takes a finished demo run (`make demo`) and trains from its SFT guard in a
folder of its own, on its pairs: at even steps with what is done for belief (versions, pictures, the gap inside the
loss, the exchange of two pictures), at odd ones without. The difference of neighbours comes with a bootstrap interval,
without the first steps, in which everything is cold, and the last, which saves. Sampling takes most of a step and
varies more than all of this: what counts is the difference of the two phases in which it happens. What cannot be
switched within a run, the phases that agent loop and reward worker begin and end, is timed apart.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from omegaconf import OmegaConf
from scipy.stats import bootstrap

from gr_vl import compose, jobs, watchdog

ANSWERS = 96
"""Answers of a demo step."""
LIMIT = 0.02
WHERE = ("timing_s/step", "timing_s/old_log_prob", "timing_s/update_actor")
"""All of it, and the two phases in which it happens."""


def main() -> int:
    """0 if the bookkeeping takes at most 2% of a step."""
    run = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/demo").absolute()
    steps = int(sys.argv[2]) if len(sys.argv) > 2 else 60
    rows = trained(run, steps)
    pairs = [(rows[step], rows[step + 1]) for step in range(5, steps - 1, 2)]
    step = statistics.median(row["timing_s/step"] for row in rows.values())
    print(f"{len(pairs)} pairs of steps, median {step:.2f} s")
    for names in (WHERE[:1], WHERE[1:]):
        more = np.array([sum(on[name] - off[name] for name in names) for off, on in pairs]) / step
        low, high = bootstrap((more,), np.mean, rng=np.random.default_rng(1)).confidence_interval
        print(f"on against off, {' + '.join(names)}: {more.mean():+.2%} of a step ({low:+.2%} to {high:+.2%})")
    phases = phase_of_each_answer()
    print(f"phases of {ANSWERS} answers: {phases * 1e3:.1f} ms, {phases / step:.2%}")
    return int(more.mean() + phases / step > LIMIT)


def trained(run: Path, steps: int) -> dict[int, dict[str, float]]:
    """Train with `alternating.py`; every step's metrics."""
    folder = Path(tempfile.mkdtemp(prefix="bookkeeping_"))
    for made in ("data", "base", "sft", "mine", "concat"):
        (folder / made).symlink_to(run / made)
    settings = ["model=tiny", f"run={folder}", f"trainer.total_training_steps={steps}", "trainer.save_freq=1000"]
    # Only even steps are compared: of those, as many exchange pictures as in a run, one in ten.
    config = compose.stage("guardreasoner_vl", "rl", [*settings, "gr_vl.belief.every=20"]).config
    OmegaConf.update(config, "trainer.v1.trainer_mode", "alternating")
    jobs.PLUGIN += ",alternating"
    os.environ["PYTHONPATH"] = f"{Path(__file__).parent}:{os.environ.get('PYTHONPATH', '')}"
    os.environ["VERL_FILE_LOGGER_PATH"] = str(folder / "metrics-0.jsonl")
    os.environ["TENSORBOARD_DIR"] = str(folder / "tensorboard")
    os.environ.update(jobs.environment("cpu"))
    from gr_vl.stages import rl

    rl.run(config)
    rows = [json.loads(line) for line in (folder / "metrics-0.jsonl").open()]
    return {row["step"]: row["data"] for row in rows}


def phase_of_each_answer() -> float:
    """Seconds of a rollout and a reward phase for every answer of a step."""
    pulse = watchdog.Pulse(Path(tempfile.mkdtemp(prefix="bookkeeping_")))
    begin = time.perf_counter()
    for index in range(2 * ANSWERS):
        pulse.end(pulse.begin("rollout", f"sample-{index}"))
    return time.perf_counter() - begin


if __name__ == "__main__":
    sys.exit(main())
