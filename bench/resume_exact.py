"""Is N steps the same as k steps, a kill, a resume and N - k steps? Bit for bit: weights, optimiser, metrics, rollouts.

`python bench/resume_exact.py [sft|rl] [K ...]` runs the demo's stages in small on this machine's CPU, for real, for
every k by default. The kill is a SIGKILL of everything that the stage started, as soon as step k's checkpoint counts.
Epochs are two steps long: every other k is an epoch's end. Columns of time and memory (`CLOCKS`) are left out.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from gr_vl.checkpoints import MARK, newest
from gr_vl.verl_ext.loading import trust_random_states

STEPS = 5
CLOCKS = ("timing", "perf/", "train/mfu", "actor/perf/")
TINY = {
    "data": ["gr_vl.data.train=16", "gr_vl.data.validation=8", "gr_vl.data.test=6"],
    "base": [],
    "sft": ["data.train_batch_size=8", "data.micro_batch_size_per_gpu=4", "trainer.test_freq=2"],
    "rl": [
        "data.train_files=${gr_vl.run}/data/train.parquet",
        "gr_vl.start_model=${gr_vl.run}/base/model",
        "data.train_batch_size=8",
        "data.max_response_length=24",
        "actor_rollout_ref.rollout.n=4",
        "actor_rollout_ref.actor.ppo_mini_batch_size=4",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8",
        "gr_vl.reward.preset=token_price",
        "+gr_vl.reward.terms.token_price.price=0.4",
    ],
}
TRAINING = ["trainer.save_freq=1", f"trainer.total_training_steps={STEPS}", "trainer.total_epochs=9"]


def main() -> int:
    """0 if every resumed run ended like the uninterrupted one."""
    kinds = [word for word in sys.argv[1:] if word in TINY] or ["sft", "rl"]
    steps = [int(word) for word in sys.argv[1:] if word.isdigit()] or range(1, STEPS)
    trust_random_states()
    home, failures = Path(tempfile.mkdtemp(prefix="resume_exact_")), 0
    whole = home / "whole"
    for kind in ("data", "base", *kinds):
        end(start(kind, whole), whole / kind)
    for kind in kinds:
        for k in steps:
            resumed = home / f"{kind}_{k}"
            for made in ("data", "base"):
                shutil.copytree(whole / made, resumed / made)
            kill_after(k, start(kind, resumed), resumed / kind)
            end(start(kind, resumed), resumed / kind)
            found = differences(whole / kind, resumed / kind)
            failures += bool(found)
            print(f"{kind} killed after step {k} of {STEPS}: {'; '.join(found) or 'the same bits'}", flush=True)
    print(f"kept: {home}" if failures else "all the same")
    if not failures:
        shutil.rmtree(home)
    return int(failures > 0)


def start(kind: str, run: Path) -> subprocess.Popen[bytes]:
    """A stage through the command line, in a session of its own."""
    command = [sys.executable, "-m", "gr_vl.cli", kind, "guardreasoner_vl", "model=tiny", f"run={run}", "seed=3"]
    more = TRAINING if kind in ("sft", "rl") else []
    return subprocess.Popen([*command, *TINY[kind], *more], stdout=subprocess.DEVNULL, start_new_session=True)


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for a stage. Raises RuntimeError when it failed."""
    if process.wait():
        raise RuntimeError(f"{folder}: exit code {process.returncode}, see {folder / 'stage.log'}")


def kill_after(step: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """SIGKILL a stage and all that it started as soon as a step's checkpoint counts."""
    mark = folder / "checkpoints" / f"global_step_{step}" / MARK
    while not mark.exists():
        if process.poll() is not None:
            end(process, folder)
        time.sleep(0.005)
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.send_signal(signal.SIGKILL)
    psutil.wait_procs(family, timeout=20)
    process.wait()


def differences(one: Path, other: Path) -> list[str]:
    """What two finished training stages do not share, in words."""
    found = []
    ends = [newest(folder / "checkpoints") for folder in (one, other)]
    assert ends[0] is not None
    assert ends[1] is not None
    if ends[0].step != ends[1].step:
        return [f"ended at step {ends[0].step} and {ends[1].step}"]
    for path in sorted(ends[0].folder.rglob("*_rank_*.pt")):
        twin = ends[1].folder / path.relative_to(ends[0].folder)
        pair = [torch.load(file, weights_only=True) for file in (path, twin)]
        found += [f"{path.name}{key}" for key in unlike(*pair)]
    rows = [metrics(folder) for folder in (one, other)]
    found += [f"metrics {key}" for key in unlike(*rows)]
    for path in sorted((one / "rollouts").glob("*.jsonl")) if (one / "rollouts").is_dir() else []:
        if path.read_bytes() != (other / "rollouts" / path.name).read_bytes():
            found.append(f"rollouts of step {path.stem}")
    return found[:8] + ([f"and {len(found) - 8} more"] if len(found) > 8 else [])


def unlike(one: Any, other: Any, name: str = "") -> list[str]:
    """Where two states differ, by key."""
    if isinstance(one, dict):
        keys = sorted(one.keys() | other.keys(), key=str)
        return [found for key in keys for found in unlike(one.get(key), other.get(key), f"{name}[{key}]")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [name]
        return [found for i, pair in enumerate(zip(one, other, strict=True)) for found in unlike(*pair, f"{name}[{i}]")]
    if hasattr(one, "to_local"):
        one, other = one.to_local(), other.to_local()
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) else [name]
    if hasattr(one, "tobytes"):
        return [] if one.tobytes() == other.tobytes() else [name]
    return [] if one == other or repr(one) == repr(other) else [name]


def metrics(folder: Path) -> dict[int, dict[str, float]]:
    """Every step's numbers without clocks; of a step that was done twice, the last."""
    rows: dict[int, dict[str, float]] = {}
    for path in sorted(folder.glob("metrics-*.jsonl"), key=lambda path: int(path.stem.split("-")[1])):
        for line in path.read_text().splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                kept = {name: value for name, value in row["data"].items() if not name.startswith(CLOCKS)}
                rows[row["step"]] = rows.get(row["step"], {}) | kept
    return rows


if __name__ == "__main__":
    sys.exit(main())
