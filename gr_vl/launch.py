"""Start a stage in a process of its own, watch it, and keep the record: configuration, log, seconds, peak memory.

A stage is done when `stage.json` stands in its folder; running it again with the same settings does nothing, and with
others is refused. One that was killed goes on where it stopped.
"""

import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from omegaconf import OmegaConf

from gr_vl import checks, compose, dialects, extras, jobs, progress
from gr_vl.compose import Stage, leaves
from gr_vl.data.build.files import replace_text
from gr_vl.errors import ConfigError, GuardError, Preempted, StageError
from gr_vl.specs import read_object
from gr_vl.stages import Facts

MEMORY_EVERY = 4
"""Looks at the progress between two looks at the memory, which costs a tenth of a core if done every second."""
ERROR_LINE = re.compile(r"\b[\w.]*(Error|Exception)\b: ")
GRACE = 20.0
"""Seconds between SIGTERM and SIGKILL for stages that save no checkpoint when asked to stop."""
PACKAGES = ("gr-vl", "verl", "torch", "transformers", "ray", "qwen-vl-utils")


@dataclass(frozen=True)
class State:
    """How far a stage is."""

    done: int
    total: int | None
    note: str
    peak_rss_gb: float


def is_done(stage: Stage) -> bool:
    """Whether the stage ended with these settings. Raises ConfigError when its folder holds a run with others."""
    if found := changed(stage):
        raise ConfigError(f"{found}; choose another run=DIR or remove that folder")
    return (stage.folder / "stage.json").is_file()


def changed(stage: Stage) -> str | None:
    """What differs between the stage's settings and those that its folder was made with, in words; None if nothing."""
    saved = stage.folder / "config.yaml"
    if not saved.is_file():
        return None
    before, now = leaves(OmegaConf.load(saved)), leaves(stage.config)
    keys = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
    if not keys:
        return None
    more = f" (and {len(keys) - 1} more keys differ)" if len(keys) > 1 else ""
    return f"{keys[0]}={now.get(keys[0])!r}: {stage.folder} was made with {before.get(keys[0])!r}{more}"


def check_machine(stage: Stage) -> None:
    """Refuse a stage that lacks packages here, or room for Ray's sockets. Raises ConfigError."""
    jobs.check_sockets(stage.kind)
    extras.of_stage(stage.kind, stage.config)


def launch(stage: Stage) -> Iterator[State]:
    """Check and run a stage; yields its state about once a second until it ends. Raises StageError when it fails."""
    if (address := os.environ.get("RAY_ADDRESS", "")).startswith("http"):
        raise ConfigError(
            f"RAY_ADDRESS={address} is a dashboard, which takes jobs: use gr-vl submit {stage.kind}, or unset it"
        )
    check_machine(stage)
    facts = checks.check(stage)
    is_done(stage)
    stage.folder.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(stage.config, stage.folder / "config.yaml")
    _describe(stage)
    began, started, peak = time.monotonic(), datetime.now(UTC), 0.0
    process = _start(stage)
    for state in _watch(stage, process, facts):
        peak = state.peak_rss_gb
        yield state
    _conclude(stage, process.returncode)
    record = {
        "stage": stage.name,
        "kind": stage.kind,
        "seconds": round(time.monotonic() - began, 1),
        "peak_rss_gb": round(peak, 2),
        "started": started.isoformat(timespec="seconds"),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        "config_hash": stage.hash,
        "counts": json.loads((stage.folder / "counts.json").read_text()),
    }
    replace_text(stage.folder / "stage.json", json.dumps(record, indent=2))


def _start(stage: Stage) -> subprocess.Popen[bytes]:
    attempt = len(list(stage.folder.glob("metrics-*.jsonl")))
    variables = jobs.environment(stage.config.gr_vl.device)
    # verl empties its metrics file when it starts: each attempt gets one of its own.
    variables["VERL_FILE_LOGGER_PATH"] = str((stage.folder / f"metrics-{attempt}.jsonl").absolute())
    variables["TENSORBOARD_DIR"] = str((stage.folder / "tensorboard").absolute())
    with (stage.folder / "stage.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gr_vl.stages", str(stage.folder / "config.yaml")],
            env=os.environ | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _watch(stage: Stage, process: subprocess.Popen[bytes], facts: Facts) -> Iterator[State]:
    peak, looks, family = 0.0, 0, {psutil.Process(process.pid)}
    try:
        while process.poll() is None:
            if looks % MEMORY_EVERY == 0:
                peak = max(peak, memory(process.pid, family))
            looks += 1
            yield State(*_progress(stage, facts), peak)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
        yield State(*_progress(stage, facts), peak)
    finally:
        _end(process, family, stage.config.gr_vl.get("grace_seconds", GRACE))
        if process.returncode == Preempted.code:
            raise Preempted(f"stage {stage.name} has ended as asked; run it again to go on from its newest checkpoint")


def _conclude(stage: Stage, code: int) -> None:
    log = stage.folder / "stage.log"
    lines = log.read_text(errors="replace").splitlines() or [""]
    if code == 2:
        raise GuardError(lines[-1].removeprefix("error: "))
    if code:
        # Ray's processes go on writing after the one that failed: the last error says more than the last line.
        errors = [line.strip() for line in lines if ERROR_LINE.search(line)]
        raise StageError(f"stage {stage.name} failed with exit code {code}: {(errors or lines)[-1]} (log: {log})")


def _end(process: subprocess.Popen[bytes], family: set[psutil.Process], grace: float) -> None:
    """End whatever the stage started, Ray's daemons included, that has not ended by itself."""
    if process.poll() is None:
        process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(grace)
    finally:  # also when a second Ctrl-C ends the wait
        _, alive = psutil.wait_procs(family, timeout=5)
        for member in alive:
            with suppress(psutil.NoSuchProcess):
                member.kill()


def memory(pid: int, family: set[psutil.Process]) -> float:
    """Gigabytes that a process and its descendants hold together, shared pages counted once; notes who they are."""
    with suppress(psutil.NoSuchProcess):
        family.update(psutil.Process(pid).children(recursive=True))
    total = 0
    for member in family:
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            total += member.memory_full_info().pss
    return total / 2**30


def _progress(stage: Stage, facts: Facts) -> tuple[int, int | None, str]:
    reported = list(stage.folder.rglob(progress.NAME))
    if reported:
        newest = json.loads(max(reported, key=lambda path: path.stat().st_mtime).read_text())
        return newest["done"], newest["total"], newest["note"]
    step, note = 0, "starting"
    for path in sorted(stage.folder.glob("metrics-*.jsonl")):
        for line in path.read_text().splitlines():
            with suppress(ValueError):
                row = json.loads(line)
                step, note = row["step"], _note(row["data"]) or note
    return step, facts.get("steps"), note


def _note(metrics: dict[str, Any]) -> str:
    names = {"train/loss": "loss", "critic/score/mean": "reward", "response_length/mean": "tokens"}
    names |= {"actor/clip_range": "clip"}
    words = [f"{short} {metrics[name]:.3g}" for name, short in names.items() if metrics.get(name) is not None]
    if (red := metrics.get("belief/red")) is not None:
        words.append("RED: sampler and trainer differ" if red else "sampler = trainer")
    if metrics.get("actor/skipped_updates"):
        words.append(f"{metrics['actor/skipped_updates']} updates skipped")
    return ", ".join(words)


def _describe(stage: Stage) -> None:
    """Write `run.json`: once what the run is and on what it runs; with an evaluation, its failure rule and models."""
    path = stage.run / "run.json"
    record = read_object(path) or _facts(stage)
    if stage.kind == "eval":
        record["unparsable"] = stage.config.gr_vl.eval.get("unparsable", "wrong")
        record["models"] = _models(stage, record.get("stages") or {})
    replace_text(path, json.dumps(record, indent=2))


def _facts(stage: Stage) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    settings = stage.config.gr_vl
    machine = {"cores": os.cpu_count(), "memory_gb": round(psutil.virtual_memory().total / 2**30, 1)}
    return {
        "recipe": settings.recipe,
        "guard": dialects.spec(settings.dialect).to_json(),
        "model": settings.model,
        "seed": settings.seed,
        **_pipeline(stage),
        "versions": versions,
        "machine": machine | {"system": platform.system(), "processor": platform.machine()},
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _pipeline(stage: Stage) -> dict[str, dict[str, str]]:
    """What a report expects of the run: the recipe's stages in order with their kinds, and the models it scores."""
    names: list[str] = []
    folder, model = str(stage.recipe), f"model={stage.config.gr_vl.model}"
    with suppress(ConfigError):  # a recipe of single stages
        names = compose.pipeline(folder, [model])
    stages = {name: compose.kind_of(Path(folder), name) for name in names}
    models: dict[str, str] = {}
    for name in (name for name, kind in stages.items() if kind == "eval"):
        with suppress(ConfigError):  # an evaluation without this overlay says so once it is its turn
            models |= _models(compose.stage(folder, name, [model]), stages)
    return {"stages": stages, "models": models}


def _models(stage: Stage, stages: Mapping[str, str]) -> dict[str, str]:
    """The models of an evaluation with the stages that made them, in their order; first those of no stage, as ""."""
    made: dict[str, str] = {}
    for name, path in stage.config.gr_vl.eval.models.items():
        inside = Path(str(path)).is_relative_to(stage.run)
        maker = Path(str(path)).relative_to(stage.run).parts[0] if inside else ""
        made[str(name)] = maker if maker in stages else ""
    order = list(stages)
    return dict(sorted(made.items(), key=lambda item: order.index(item[1]) if item[1] else -1))
