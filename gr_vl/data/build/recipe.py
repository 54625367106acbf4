"""What a mixture is made of: a YAML file of sources, how many rows each gives, the splits and the benchmarks."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gr_vl import dialects, specs
from gr_vl.errors import ConfigError
from gr_vl.schema import Modality, Task
from gr_vl.tasks import SHARED, ordered

Amount: TypeAlias = int | float | str
"""A number of rows; a share of them, as a float; or the word all."""


@dataclass(frozen=True)
class Draw:
    """How many rows are taken, by hash rank."""

    amounts: Mapping[str, Amount]
    """By cell: a modality, task/label, or both as `image/prompt/harmful`; the empty cell is every row. A row belongs to
    the first cell that it fits, and one that fits none is not drawn."""


@dataclass(frozen=True)
class Ingredient:
    """A source, and the folder that it is read from."""

    name: str
    folder: Path
    draw: Draw


@dataclass(frozen=True)
class Part:
    """Sources that are drawn from together, after each was drawn from by itself."""

    name: str
    draw: Draw
    sources: tuple[Ingredient, ...]


@dataclass(frozen=True)
class Recipe:
    """A mixture."""

    seed: int
    dialect: str
    """The grammar that reasoning is examined under."""
    splits: Mapping[str, float]
    """Shares by name; they sum to 1."""
    max_bad_share: float
    """Of a source's rows; with more of them unusable the build stops."""
    near_text: float
    """Least Jaccard similarity of two texts' word shingles that makes them near duplicates."""
    near_image: int
    """Greatest difference, of 255, of any cell of two pictures' thumbnails that makes them near duplicates."""
    parts: tuple[Part, ...]
    benchmarks: tuple[Ingredient, ...]

    @property
    def ingredients(self) -> tuple[Ingredient, ...]:
        """The training sources, in the order of the recipe."""
        return tuple(source for part in self.parts for source in part.sources)


def load(path: Path, folder: Path | None = None, dialect: str | None = None) -> Recipe:
    """Read and check a recipe; `folder` and `dialect` replace what it names. Raises ConfigError with the key at fault.

    A recipe without a dialect is refused when none is given: reasoning is examined under a grammar.
    """
    if path.is_dir() or not path.exists():
        raise ConfigError(f"{path}: no such recipe; give the path of a YAML file such as recipes/data/NAME.yaml")
    try:
        content = OmegaConf.to_container(OmegaConf.load(path), resolve=True)
    except (OmegaConfBaseException, YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: not YAML ({str(error).splitlines()[0]}); correct it") from None
    row = _keys(
        content, str(path), {"seed", "splits", "parts"}, {"folder", "max_bad_share", "near", "benchmarks", "dialect"}
    )
    root = Path(str(row.get("folder", "."))) if folder is None else folder
    near = _keys(row.get("near", {}), "near", set(), {"text", "image"})
    grammar = specs.needed(dialect or row.get("dialect"), path)
    cells = _cells(dialects.get(grammar).tasks)
    parts = tuple(_part(name, part, root, cells) for name, part in _table(row["parts"], "parts").items())
    reference = _table(row.get("benchmarks", {}), "").items()
    benchmarks = tuple(_source(*item, root, "benchmarks", cells) for item in reference)
    names = [source.name for part in parts for source in part.sources] + [source.name for source in benchmarks]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"{twice[0]}: appears twice in {path}; name each source once")
    return Recipe(
        dialect=grammar,
        seed=int(_number(row["seed"], "seed", 0, 2**63)),
        splits=_splits(row["splits"]),
        max_bad_share=_number(row.get("max_bad_share", 0.05), "max_bad_share", 0, 1),
        near_text=_number(near.get("text", 0.8), "near.text", 0.5, 1),
        near_image=int(_number(near.get("image", 12), "near.image", 0, 64)),
        parts=parts,
        benchmarks=benchmarks,
    )


def _cells(tasks: Iterable[Task]) -> re.Pattern[str]:
    """What a draw may count: a modality, a task's label, or both."""
    classes = "|".join(f"{task}/(?:{'|'.join(task.labels)})" for task in ordered((*tasks, *SHARED)))
    return re.compile(rf"(?:({'|'.join(Modality)})/?)?(?:(?<![a-z])(?:{classes}))?")


def _part(name: str, content: Any, root: Path, cells: re.Pattern[str]) -> Part:
    key = f"parts.{name}"
    row = _keys(content, key, {"sources"}, {"draw"})
    sources = _table(row["sources"], f"{key}.sources")
    if not sources:
        raise ConfigError(f"{key}.sources is empty; name at least one source")
    made = tuple(_source(*item, root, f"{key}.sources", cells) for item in sources.items())
    return Part(name, _draw(row.get("draw", "all"), f"{key}.draw", cells), made)


def _source(name: str, content: Any, root: Path, key: str, cells: re.Pattern[str]) -> Ingredient:
    if isinstance(content, str):
        content = {"folder": content}
    row = _keys(content, f"{key}.{name}", {"folder"}, {"draw"})
    return Ingredient(name, root / str(row["folder"]), _draw(row.get("draw", "all"), f"{key}.{name}.draw", cells))


def _draw(content: Any, key: str, known: re.Pattern[str]) -> Draw:
    cells = content if isinstance(content, dict) else {"": content}
    for cell, amount in cells.items():
        if not known.fullmatch(str(cell)):
            raise ConfigError(f"{key}.{cell} is no cell; write a modality, TASK/LABEL, or both: image/prompt/harmful")
        whole = isinstance(amount, int) and not isinstance(amount, bool) and amount >= 0
        share = isinstance(amount, float) and 0 <= amount <= 1
        if not (whole or share or amount == "all"):
            raise ConfigError(f"{key}={amount!r} must be all, a number of rows, or a share between 0.0 and 1.0")
    return Draw({str(cell): amount for cell, amount in cells.items()})


def _splits(content: Any) -> dict[str, float]:
    splits = {name: _number(share, f"splits.{name}", 0, 1) for name, share in _table(content, "splits").items()}
    if abs(sum(splits.values()) - 1) > 1e-9:
        raise ConfigError(f"splits={splits} must sum to 1")
    if bad := [name for name in splits if not re.fullmatch(r"[a-z][a-z0-9_]*", name)]:
        raise ConfigError(f"splits.{bad[0]}: names are files; use lower-case letters, digits and _")
    return splits


def _number(value: Any, key: str, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise ConfigError(f"{key}={value!r} must be a number between {least:g} and {most:g}")
    return value


def _table(content: Any, key: str) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise ConfigError(f"{key}={content!r} must be a table of NAME: VALUE")
    return {str(name): value for name, value in content.items()}


def _keys(content: Any, key: str, needed: set[str], allowed: set[str]) -> dict[str, Any]:
    row = _table(content, key)
    for name in sorted(row.keys() - needed - allowed):
        raise ConfigError(f"{key}: {name} is unknown; use one of: {', '.join(sorted(needed | allowed))}")
    for name in sorted(needed - row.keys()):
        raise ConfigError(f"{key}: {name} is missing; add it")
    return row
