"""The file of an ablation: named variants, which are lists of overrides, times seeds.

Overrides are those of `gr-vl pipeline`: KEY=VALUE for every stage, STAGE:KEY=VALUE for one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gr_vl import compose
from gr_vl.errors import ConfigError

SHARED = "shared"
"""The folder of the stages that variants have in common; no variant may be called so."""
_TAKEN = {"run": "run=DIR on the command line", "seed": "seeds: of the grid", "config": "stages: of the grid"}
_TAKEN |= {f"gr_vl.{key}": _TAKEN[key] for key in ("run", "seed")}


@dataclass(frozen=True)
class Grid:
    """Variants times seeds of one recipe."""

    name: str
    recipe: str
    stages: tuple[str, ...]
    """What a cell runs, in order; none means the recipe's pipeline. The last one is the evaluation."""
    score: str
    """The model of the evaluation that is compared."""
    sources: tuple[str, ...]
    """The sources whose samples are scored; none means all of the split."""
    seeds: tuple[int, ...]
    reference: str
    """The variant that the others are measured against."""
    overrides: tuple[str, ...]
    """Settings of every cell."""
    variants: Mapping[str, tuple[str, ...]]
    """What each variant changes, on top of `overrides`."""


_FIELDS: dict[str, Any] = {"recipe": None, "stages": [], "score": "rl", "sources": [], "seeds": None}
_FIELDS |= {"reference": None, "overrides": [], "variants": None}
"""Keys of the file and their defaults; None means that the key must be there."""


def load(grid: str) -> Grid:
    """Read a grid by path, or by name below recipes/ablations/. ConfigError, one line, for whatever is wrong in it."""
    path = _find(grid)
    content = _read(path)
    for key in content:
        if key not in _FIELDS:
            raise ConfigError(f"{path}: {key}: no such key; use: {', '.join(_FIELDS)}")
    values = {key: content.get(key, default) for key, default in _FIELDS.items()}
    for key, value in values.items():
        if value is None:
            raise ConfigError(f"{path}: {key}: is missing; see docs/ablations.md for the keys of a grid")
    variants = _variants(path, values["variants"])
    if values["reference"] not in variants:
        raise ConfigError(f"{path}: reference={values['reference']!r} is no variant; use one of: {', '.join(variants)}")
    return Grid(
        name=path.stem,
        recipe=str(values["recipe"]),
        stages=_strings(path, "stages", values["stages"]),
        score=str(values["score"]),
        sources=_strings(path, "sources", values["sources"]),
        seeds=_seeds(path, values["seeds"]),
        reference=values["reference"],
        overrides=_overrides(path, "overrides", values["overrides"]),
        variants=variants,
    )


def _find(grid: str) -> Path:
    folders = [home / "ablations" for home in compose.recipe_homes()]
    for path in [Path(grid), *(folder / f"{grid}.yaml" for folder in folders)]:
        if path.exists() and not path.is_dir():
            return path
    known = sorted({path.stem for folder in folders for path in folder.glob("*.yaml")})
    raise ConfigError(f"GRID={grid!r} is neither a file nor one of: {', '.join(known)}")


def _read(path: Path) -> dict[str, Any]:
    try:
        # References in overrides are for the recipe to resolve.
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    except (OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: holds no keys; use: {', '.join(_FIELDS)}")
    return {str(key): value for key, value in content.items()}


def _variants(path: Path, value: Any) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, dict) or not value:
        raise ConfigError(f"{path}: variants={value!r} must map names to lists of overrides, such as  full: []")
    for name in value:
        if not str(name).replace("-", "").isidentifier() or name == SHARED:
            raise ConfigError(f"{path}: variants.{name}: names a folder; use letters, digits, - and _, not {SHARED!r}")
    return {str(name): _overrides(path, f"variants.{name}", items) for name, items in value.items()}


def _overrides(path: Path, key: str, value: Any) -> tuple[str, ...]:
    items = _strings(path, key, value)
    for item in items:
        name = item.split("=", 1)[0].rpartition(":")[2].lstrip("+~")
        if name in _TAKEN:
            raise ConfigError(f"{path}: {key}: {item}: this is set by {_TAKEN[name]}; remove it")
    return items


def _strings(path: Path, key: str, value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ConfigError(f"{path}: {key}={value!r} must be a list of texts; write []  for none")
    return tuple(value)


def _seeds(path: Path, value: Any) -> tuple[int, ...]:
    whole: Iterable[Any] = value if isinstance(value, list) else []
    seeds = tuple(seed for seed in whole if type(seed) is int)
    if not seeds or len(set(seeds)) != len(value):
        raise ConfigError(f"{path}: seeds={value!r} must be a list of different whole numbers; use [1, 2, 3]")
    return seeds
