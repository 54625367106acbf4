"""A stage, or the pipeline, as a Ray job: checked here, named by what it is, and runnable by hand as well."""

import hashlib
import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gr_vl import checks, compose
from gr_vl import overrides as written
from gr_vl.cluster import manifest
from gr_vl.cluster.upload import EXCLUDES
from gr_vl.errors import ConfigError

PIPELINE = "pipeline"
STOP_SECONDS = 600
"""What a stopped job may take to write a checkpoint before it is killed; Ray's own default is 3."""


@dataclass(frozen=True)
class Asks:
    """What the job's driver reserves. Nothing: it runs on the head node; anything: wherever that is free."""

    cpus: float = 0
    gpus: float = 0
    custom: dict[str, float] = field(default_factory=dict)

    @property
    def shape(self) -> dict[str, float]:
        """By Ray's names, without zeros."""
        return {name: amount for name, amount in {"CPU": self.cpus, "GPU": self.gpus, **self.custom}.items() if amount}


@dataclass(frozen=True)
class Job:
    """What is submitted, but for the number of the attempt."""

    name: str
    """The run's folder, the stage, and a digest of the configuration: the same job has the same name."""
    command: tuple[str, ...]
    root: Path
    metadata: dict[str, str]
    asks: Asks

    def id(self, attempt: int) -> str:
        """The submission id of an attempt, from 1."""
        return f"{self.name}-{attempt}"

    def runtime_env(self) -> dict[str, Any]:
        """Ray's runtime environment of the driver and of all that it starts."""
        variables = {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}
        return {"working_dir": str(self.root), "excludes": list(EXCLUDES), "env_vars": variables}

    def shell(self, address: str, attempt: int = 1) -> str:
        """The `ray job submit` line that does the same."""
        environment = {key: value for key, value in self.runtime_env().items() if key != "working_dir"}
        options = {
            "address": address,
            "submission-id": self.id(attempt),
            "working-dir": str(self.root),
            "runtime-env-json": json.dumps(environment),
            "metadata-json": json.dumps(self.metadata),
            "entrypoint-num-cpus": self.asks.cpus,
            "entrypoint-num-gpus": self.asks.gpus,
            "entrypoint-resources": json.dumps(self.asks.custom) if self.asks.custom else None,
        }
        words = [word for name, value in options.items() if value for word in (f"--{name}", str(value))]
        return shlex.join(["ray", "job", "submit", *words, "--", *self.command])


def plan(kind: str, recipe: str, overrides: Sequence[str], asks: Asks, root: Path) -> Job:
    """Compose and check a stage as its own command would, and make a job of it. Raises ConfigError or DataError.

    Paths become absolute: they must be the same on every node. Files are checked where the run is mounted here.
    """
    overrides = [_absolute(item) for item in overrides]
    stages = _stages(kind, recipe, overrides)
    folder = compose.recipe_folder(recipe)
    if Path(recipe).is_dir() and not folder.is_relative_to(root.resolve()):
        raise ConfigError(f"RECIPE={recipe!r} lies outside of {root}, which is what travels; submit from its project")
    run, added = stages[0].run.absolute(), list[str]()
    for index, stage in enumerate(stages):
        stage.config.gr_vl.run = str(run)
        checks.check(stage, files=index == 0 and run.is_dir())
        # A recipe's own folder of downloads lies beside it here, and data never travel.
        if stage.kind == "data" and (folder_of := stage.config.gr_vl.data.folder):
            stage.config.gr_vl.data.folder = str(Path(folder_of).absolute())
            prefix = f"{stage.name}:" if kind == PIPELINE else ""
            added.append(f"{prefix}gr_vl.data.folder={stage.config.gr_vl.data.folder}")
    rest = [item for item in overrides if item.split("=", 1)[0] not in ("run", "gr_vl.run")]
    named = str(folder.relative_to(root.resolve())) if Path(recipe).is_dir() else recipe
    digest = hashlib.sha256("".join(stage.hash for stage in stages).encode()).hexdigest()[:16]
    label = kind if kind == PIPELINE else stages[0].name
    return Job(
        name=f"{re.sub('[^A-Za-z0-9_]+', '_', run.name)}-{label}-{digest[:8]}",
        command=("python", "-m", "gr_vl.cli", kind, named, *rest, *added, f"run={run}"),
        root=root,
        metadata={
            "run": str(run),
            "stage": label,
            "config": digest,
            "revision": manifest.revision(root),
            "data": manifest.data_digest(run),
            "asks": json.dumps(asks.shape),
        },
        asks=asks,
    )


def _absolute(item: str) -> str:
    """An override whose path, if it is one of this machine, does not depend on the current folder."""
    before, equals, value = item.partition("=")
    stage, colon, key = before.rpartition(":")
    name = written.SHORT.get(key, key).lstrip("+")
    if not equals or not written.is_path(name) or key == "model" or value.lower() == "null":
        return item
    path = written.path(name, value)
    hub = path.count("/") < 2 and not path.startswith(".") and not Path(path).exists() and "model" in name
    return item if hub or "${" in path or "://" in path else f"{stage}{colon}{key}={Path(path).absolute()}"


def _stages(kind: str, recipe: str, overrides: Sequence[str]) -> list[compose.Stage]:
    if kind == PIPELINE:
        own = compose.by_stage(compose.pipeline(recipe, overrides), overrides)
        return [compose.stage(recipe, name, items) for name, items in own.items()]
    return [compose.stage_of_kind(recipe, kind, overrides)]
