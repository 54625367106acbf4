"""Small real runs for the benches: the demo's stages in seconds, and whether two of them ended with the same bits."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import torch

from gr_vl.checkpoints import newest

CLOCKS = ("timing", "perf/", "train/mfu", "actor/perf/")
"""Columns of time and memory, in which no two runs are equal."""
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
    "mine": [
        "gr_vl.generation.model=${gr_vl.run}/base/model",
        "gr_vl.generation.answers=256",
        "gr_vl.mine.rule=any_wrong",
        "actor_rollout_ref.rollout.response_length=48",
    ],
}


def start(
    kind: str, run: Path, *overrides: str, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """A stage through the command line, in a session of its own."""
    variables = os.environ | dict(environment or {})
    command = [sys.executable, "-m", "gr_vl.cli", kind, "guardreasoner_vl", "model=tiny", f"run={run}", "seed=3"]
    return subprocess.Popen(
        [*command, *TINY[kind], *overrides], stdout=subprocess.DEVNULL, start_new_session=True, env=variables
    )


def end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait for a stage. Raises RuntimeError when it failed."""
    if process.wait():
        raise RuntimeError(f"{folder}: exit code {process.returncode}, see {folder / 'stage.log'}")


def kill(processes: Iterable[psutil.Process]) -> None:
    """SIGKILL, and wait until they are gone."""
    doomed = list(processes)
    for process in doomed:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    psutil.wait_procs(doomed, timeout=20)


def family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """A stage's launcher and all that it started."""
    launcher = psutil.Process(process.pid)
    return [launcher, *launcher.children(recursive=True)]


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


def attempts(folder: Path) -> list[list[int]]:
    """The steps that each start of a stage logged, in order."""
    found = []
    for path in _logs(folder):
        lines = [line for line in path.read_text().splitlines() if line.endswith("}")]
        found.append([row["step"] for row in map(json.loads, lines)])
    return found


def _logs(folder: Path) -> list[Path]:
    return sorted(folder.glob("metrics-*.jsonl"), key=lambda path: int(path.stem.split("-")[1]))


def metrics(folder: Path) -> dict[int, dict[str, float]]:
    """Every step's numbers without clocks; of a step that was done twice, the last."""
    rows: dict[int, dict[str, float]] = {}
    for path in _logs(folder):
        for line in path.read_text().splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                kept = {name: value for name, value in row["data"].items() if not name.startswith(CLOCKS)}
                rows[row["step"]] = rows.get(row["step"], {}) | kept
    return rows
