"""Reward terms, one file each: the file's name is the term's name in a recipe, its one dataclass is the term.

A term is a frozen dataclass whose fields are its parameters, all numbers. It scores an answer, `__call__(answer)`, or,
when an answer's worth depends on the others of its group, the whole group, `over(group)`. Nothing is registered: a file
here is found by its name, and a file anywhere else by its path.
"""

import importlib
import importlib.util
import inspect
import math
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from gr_vl.errors import ConfigError
from rewards.answer import Answer


class Term(Protocol):
    """A term of one answer. A group term has `over(group: Sequence[Answer]) -> Sequence[float]` instead."""

    def __call__(self, answer: Answer) -> float:
        """What the term says of an answer, before its weight."""
        ...


class Weighted:
    """A term with its name and weight. It pickles as its settings, so that terms from any file reach any process."""

    def __init__(self, name: str, settings: Mapping[str, Any]) -> None:
        """ConfigError names the term or parameter that is unknown, or the value that is out of range."""
        own = dict(settings)
        file = own.pop("file", None)
        self.name = name
        self.file = None if file is None else str(Path(file).resolve())
        self.weight = _number(f"{name}.weight", own.pop("weight", 1.0))
        kind = _term_class(name, self.file)
        known = [item.name for item in fields(kind)]
        for key in own:
            if key not in known:
                takes = ", ".join(["weight", *known])
                raise ConfigError(f"gr_vl.reward.terms.{name}.{key} is unknown; {name} takes: {takes}")
        self.parameters = {key: _number(f"{name}.{key}", value) for key, value in own.items()}
        try:
            self.term = kind(**self.parameters)
        except ValueError as error:
            raise ConfigError(f"gr_vl.reward.terms.{error}") from None
        self.grouped = hasattr(self.term, "over")

    def over(self, group: Sequence[Answer]) -> Sequence[float]:
        """Weight times term for every answer of a group."""
        term, weight = self.term, self.weight
        if self.grouped:
            return [weight * value for value in term.over(group)]
        return [weight * term(answer) for answer in group]

    def settings(self) -> dict[str, Any]:
        """What the term can be built from again."""
        return ({} if self.file is None else {"file": self.file}) | {"weight": self.weight} | self.parameters

    def __reduce__(self) -> tuple[type["Weighted"], tuple[str, dict[str, Any]]]:
        return Weighted, (self.name, self.settings())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weighted) and self.__reduce__() == other.__reduce__()

    def __repr__(self) -> str:
        return f"{self.weight:g} x {self.term!r}"


def names() -> list[str]:
    """The terms of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@cache
def _term_class(name: str, file: str | None) -> Any:
    if file is None and name not in names():
        known = ", ".join(names())
        raise ConfigError(
            f"gr_vl.reward.terms.{name} is unknown; use one of: {known}, or name its file: {{file: PATH}}"
        )
    module = importlib.import_module(f"{__name__}.{name}") if file is None else _load(name, Path(file))
    found = [item for _, item in inspect.getmembers(module, inspect.isclass) if item.__module__ == module.__name__]
    kinds = [item for item in found if is_dataclass(item) and {"over", "__call__"} & vars(item).keys()]
    if len(kinds) != 1:
        raise ConfigError(f"gr_vl.reward.terms.{name}: {module.__file__} holds {len(kinds)} terms; write one dataclass")
    return kinds[0]


def _load(name: str, path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"gr_vl.reward.terms.{name}.file={path}: no such file; correct the path")
    spec = importlib.util.spec_from_file_location(f"reward_term_{name}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"gr_vl.reward.terms.{name}.file={path} is no Python file; name one that ends in .py")
    module = importlib.util.module_from_spec(spec)
    # Where dataclasses look up annotations that are strings.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ConfigError(f"gr_vl.reward.terms.{name}.file={path}: {error!r}; mend the file") from None
    return module


def _number(key: str, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if math.isnan(number) or isinstance(value, bool):
        raise ConfigError(f"gr_vl.reward.terms.{key}={value!r} is no number; parameters are numbers")
    return number
