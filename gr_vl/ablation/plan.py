"""From a grid to cells: which stages each one needs, and in which folder each stage is run once.

Two stages are the same when their settings are, and those of every stage whose output they read: what a stage reads
stands in its settings, as a path below the run folder. What a variant has in common with the grid without variants is
run in the folder `shared_seedN`; what it changes is run in its own. A cell sees the rest through links.
"""

import copy
import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gr_vl import checks, compose
from gr_vl.ablation.grid import SHARED, Grid
from gr_vl.compose import Stage, leaves
from gr_vl.errors import ConfigError, GuardError

_RUN = "<run>"


@dataclass(frozen=True)
class _Checked:
    """A stage that would run, in no folder yet."""

    stage: Stage
    settings: Mapping[str, Any]
    """Every value that is not null, with the run folder as a placeholder."""


Stages = dict[str, _Checked]


@dataclass(frozen=True)
class Cell:
    """One variant with one seed: a run folder."""

    variant: str
    seed: int
    folder: Path
    stages: tuple[Stage, ...]
    """In order, each in the folder where it is run, which may be another cell's."""
    digests: Mapping[str, str]
    """By stage: what its output is a function of, its own settings and those of all that it reads; not the seed."""

    @property
    def name(self) -> str:
        """The name of the folder."""
        return self.folder.name


def plan(grid: Grid, root: Path, overrides: Sequence[str] = ()) -> list[Cell]:
    """Every cell of a grid below `root`, seed by seed, composed and checked without looking at files.

    `overrides` are settings for all cells that are not in the grid's file. Raises the first ConfigError, which names
    the variant.
    """
    common = [*grid.overrides, *overrides]
    names = grid.stages or tuple(compose.pipeline(grid.recipe, common))
    with _named("every cell"):
        own = compose.by_stage(names, common)
        variants = {SHARED: {name: _compose(grid.recipe, name, items) for name, items in own.items()}}
    for variant, changes in grid.variants.items():
        with _named(f"variant {variant}"):
            variants[variant] = _vary(grid.recipe, variants[SHARED], common, changes)
            _check_score(variants[variant], grid.score)
    digests = {variant: _digests(stages) for variant, stages in variants.items()}
    return [cell for seed in grid.seeds for cell in _cells(root, seed, variants, digests)]


@contextmanager
def _named(what: str) -> Iterator[None]:
    try:
        yield
    except GuardError as error:
        raise ConfigError(f"{what}: {error}") from None


def _vary(recipe: str, base: Stages, common: Sequence[str], changes: Sequence[str]) -> Stages:
    """The stages of a variant; those that it does not touch are the base's, since composing takes a while."""
    before, after = compose.by_stage(base, common), compose.by_stage(base, [*common, *changes])
    return {
        name: _compose(recipe, name, after[name]) if after[name] != before[name] else stage
        for name, stage in base.items()
    }


def _compose(recipe: str, name: str, overrides: Sequence[str]) -> _Checked:
    stage = compose.stage(recipe, name, overrides)
    checks.check(stage, files=False)
    config = copy.deepcopy(stage.config)
    OmegaConf.update(config, "gr_vl.run", _RUN)
    return _Checked(stage, {key: value for key, value in leaves(config).items() if value is not None})


def _check_score(stages: Stages, score: str) -> None:
    last = list(stages.values())[-1].stage
    models = list(last.config.gr_vl.eval.models) if last.kind == "eval" else []
    if score not in models:
        raise ConfigError(f"score={score}: the last stage, {last.name}, must evaluate that model; it has: {models}")


def _digests(stages: Stages) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, stage in stages.items():
        texts = map(str, stage.settings.values())
        read = {match for text in texts for match in re.findall(rf"{_RUN}/([\w-]+)/", text)} - {name}
        if missing := sorted(read - found.keys()):
            raise ConfigError(f"stages: {name} reads what {missing[0]} makes, which is not run before it; add it")
        content = [name, stage.settings, {other: found[other] for other in sorted(read)}]
        found[name] = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:16]
    return found


def _cells(
    root: Path, seed: int, variants: Mapping[str, Stages], digests: Mapping[str, Mapping[str, str]]
) -> Iterator[Cell]:
    placed: dict[str, Stage] = {}
    for variant, stages in variants.items():
        folder = root / f"{variant}_seed{seed}"
        for name, stage in stages.items():
            if digests[variant][name] not in placed:
                placed[digests[variant][name]] = _place(stage.stage, folder, seed)
        if variant != SHARED:
            own = digests[variant]
            yield Cell(variant, seed, folder, tuple(placed[own[name]] for name in stages), own)


def _place(stage: Stage, folder: Path, seed: int) -> Stage:
    config = copy.deepcopy(stage.config)
    OmegaConf.update(config, "gr_vl.run", str(folder))
    OmegaConf.update(config, "gr_vl.seed", seed)
    return Stage(stage.name, config, stage.recipe)
