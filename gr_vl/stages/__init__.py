"""The registry of stages: each module of this folder is one kind, and says what the program asks of it.

Command line, launcher, checks, memory and report read this registry: a new kind is a new module with a `KIND`.
Importing one loads no torch, since a command that only checks is to answer at once.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, MissingMandatoryValue, ValidationError

from gr_vl.errors import ConfigError
from gr_vl.memory import Predict

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Counts = dict[str, Any]
"""What a stage tells about its work; it ends up in `stage.json` and in the report."""
Facts = dict[str, Any]
"""What a check learned, for people to read: steps, batches, the clip curve."""
_SHARED = ("__init__", "__main__", "export", "lengths", "processing", "serve", "training")
"""Modules of this folder that several kinds use, and that are none."""
S = TypeVar("S", bound="DataclassInstance")


def _same(config: DictConfig, rows: int | None) -> int | None:
    return rows


@dataclass(frozen=True)
class Kind(Generic[S]):
    """What a stage of this kind does, and what it is to the rest of the program."""

    name: str
    """As `gr_vl.kind` and the command line have it."""
    help: str
    """What it does, in a line."""
    order: int
    """Where it stands among the commands."""
    settings: type[S]
    """A dataclass: its fields are those blocks of `gr_vl` that are this kind's own."""
    check: Callable[[S, DictConfig, bool], Facts]
    """Refuses settings that cannot be; without its last argument, files that earlier stages make are not looked for."""
    run: Callable[[DictConfig], Counts]
    """Does the work."""
    title: str = ""
    """What a report calls the model that it makes; empty where it makes none."""
    ray: bool = False
    """Whether it starts Ray, or joins it."""
    memory: Predict | None = None
    """Its peak memory, where it holds a model on the recipe's devices."""
    rows_after: Callable[[DictConfig, int | None], int | None] = _same
    """How many training rows there are at most once it is done; None where only the corpus knows."""
    makes: Mapping[str, str] = field(default_factory=dict)
    """The corpora in its folder, as its counts and files name them, by what a report calls them."""
    panels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Its training plots: their titles, and the metrics of which the first that was logged is drawn."""

    @property
    def trains(self) -> bool:
        """Whether its model has learned from the run's corpora."""
        return bool(self.panels)


@cache
def kinds() -> dict[str, Kind[Any]]:
    """Every kind by name, in order."""
    names = {path.stem for path in Path(__file__).parent.glob("*.py")} - {*_SHARED}
    found: list[Kind[Any]] = [import_module(f"{__name__}.{name}").KIND for name in names]
    return {kind.name: kind for kind in sorted(found, key=lambda kind: (kind.order, kind.name))}


def get(name: str) -> Kind[Any]:
    """The kind of this name. Raises ConfigError that lists the known ones."""
    if name not in kinds():
        raise ConfigError(f"gr_vl.kind={name!r} is unknown; use one of: {', '.join(kinds())}")
    return kinds()[name]


def read(settings: type[S], config: DictConfig) -> S:
    """The typed blocks of a composed configuration.

    Raises ConfigError for a key that no block has or a value of another type, and KeyError for one that is missing.
    """
    given = OmegaConf.to_container(config.gr_vl, resolve=True)
    assert isinstance(given, dict)
    given = {item.name: given[item.name] for item in fields(settings) if item.name in given}
    try:
        found = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(settings), given))
    except MissingMandatoryValue as error:
        raise KeyError(f"gr_vl.{error.full_key or ''}") from None
    except ConfigKeyError as error:
        known = [item.name for item in fields(error.object_type)] if error.object_type else []
        near = difflib.get_close_matches(str(error.key), known, n=1, cutoff=0.5)
        fix = f"did you mean {near[0]}?" if near else f"use one of: {', '.join(known)}"
        raise ConfigError(f"gr_vl.{error.full_key}: a stage of this kind has no such key; {fix}") from None
    except ValidationError as error:
        value = OmegaConf.select(config.gr_vl, str(error.full_key))
        why = " ".join(str(error.msg).splitlines()[0].split())
        raise ConfigError(f"gr_vl.{error.full_key}={value!r} has another type than this key ({why}); mend it") from None
    assert isinstance(found, settings)
    return found
