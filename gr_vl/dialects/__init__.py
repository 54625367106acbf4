"""Output grammars. A dialect turns a sample into chat messages, into a target answer, and an answer into a verdict.

A dialect is one module that holds it as `DIALECT`. A file here is found by its name, any other module by its dotted
one (`gr_vl.dialect=mine.levels`), which every process of a run must be able to import.
"""

import importlib
import pkgutil
import sys
from collections.abc import Mapping
from functools import cache
from typing import Any, Protocol

from gr_vl.errors import ConfigError
from gr_vl.schema import Label, ParseFailure, Sample, Task, Verdict
from gr_vl.tasks import GuardSpec

Message = dict[str, Any]
"""A chat message whose content is a list of parts: {"type": "text", "text": ...} or {"type": "image"}."""


class Dialect(Protocol):
    """How one family of guards is spoken to and how its answers are read."""

    tasks: tuple[Task, ...]
    takes_policy: bool
    """Whether `Sample.policy` replaces the rules to judge by, or is ignored."""
    reasoning_ends: str
    """The text at whose first place the reasoning of an answer ends; the reward's length counts what is before it."""
    stop: tuple[str, ...]
    """Texts after which an answer is over, as its end token; they stay part of it. Most grammars have none."""

    def messages(self, sample: Sample) -> list[Message]:
        """The prompt as chat messages; image parts are place holders for `sample.images`, in order."""
        ...

    def questions(self, sample: Sample) -> list[tuple[Sample, tuple[Task, ...]]]:
        """What has to be asked to judge an exchange: samples, answered one by one, and the tasks that each settles."""
        ...

    def target(self, sample: Sample) -> str:
        """The answer that SFT teaches. Raises DataError when the sample has no reasoning or lacks a label."""
        ...

    def expected(self, sample: Sample) -> Mapping[Task, Label]:
        """The labels that a right answer states, including those that the grammar fixes by convention."""
        ...

    def answer(self, labels: Mapping[Task, Label], reasoning: str = "") -> str:
        """The well-formed answer that states these labels, one for each of `tasks`, after this reasoning."""
        ...

    def places(self, text: str) -> Mapping[Task, tuple[int, int]]:
        """Where in an answer each label stands: from its first character to past its last. Empty without a verdict."""
        ...

    def in_blocks(self, text: str) -> bool:
        """Whether the parts of an answer are there in order, whatever is in and around them: the gate `blocks`."""
        ...

    def parse(self, text: str) -> Verdict | ParseFailure:
        """Read an answer. Total and linear in the length of the text: every string has an outcome."""
        ...


_NO_DIALECTS = ("lines", "sections", "transcript")
"""Modules here that dialects share."""


def names() -> list[str]:
    """The dialects of this package."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if module.name not in _NO_DIALECTS)


@cache
def get(name: str) -> Dialect:
    """The dialect of that name. Raises ConfigError that lists the known ones, or says what its module lacks."""
    if "." not in name and name not in names():
        known = f"use one of: {', '.join(names())}, or the dotted name of your own module"
        raise ConfigError(f"gr_vl.dialect={name!r} is unknown; {known}")
    try:
        dialect: Dialect = importlib.import_module(name if "." in name else f"{__name__}.{name}").DIALECT
    except Exception as error:  # whatever the module of somebody else does when it is imported
        fix = f"put a module with a DIALECT on the path of Python ({sys.path[0] or '.'} comes first)"
        raise ConfigError(f"gr_vl.dialect={name!r}: {error!r}; {fix}") from None
    return dialect


def spec(name: str) -> GuardSpec:
    """What travels with the data of guards of that dialect. Raises as `get`."""
    dialect = get(name)
    return GuardSpec(name, dialect.tasks, dialect.takes_policy, dialect.reasoning_ends)
