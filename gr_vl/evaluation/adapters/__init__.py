"""Other guards' ways of being asked and of answering, so that one command compares them with ours.

An adapter differs from a dialect: it is never trained on, it may need several requests for one sample, and it may rely
on the chat template that the guard's checkpoint ships, which then holds the guard's own prompt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gr_vl.dialects import Message
from gr_vl.errors import ConfigError
from gr_vl.evaluation.adapters import guardreasoner
from gr_vl.schema import ParseFailure, Sample, Task, Verdict


@dataclass(frozen=True)
class Call:
    """One request about a sample."""

    messages: list[Message]
    """Chat messages; image parts are place holders for `sample.images`, in order."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request's body."""


class Adapter(Protocol):
    """How one family of guards is asked and read."""

    tasks: tuple[Task, ...]

    def calls(self, sample: Sample) -> list[Call]:
        """The requests that judge a sample; none when the guard cannot judge it."""
        ...

    def read(self, texts: Sequence[str]) -> Verdict | ParseFailure:
        """The replies to all calls, in order, as one verdict. Total: every string has an outcome."""
        ...


Reader = Callable[[Sequence[str]], Verdict | ParseFailure]
_ADAPTERS: dict[str, Adapter] = {}


def get(name: str) -> Adapter:
    """The adapter of that name, to ask a guard with; ConfigError lists the known ones otherwise."""
    try:
        return _ADAPTERS[name]
    except KeyError:
        raise ConfigError(f"--adapter {name}: unknown; use one of: {', '.join(_ADAPTERS)}") from None


def reader(name: str) -> Reader:
    """What reads answers that are there already; ConfigError lists the known ones otherwise."""
    readers = {"guardreasoner": guardreasoner.read} | {key: adapter.read for key, adapter in _ADAPTERS.items()}
    try:
        return readers[name]
    except KeyError:
        raise ConfigError(f"--adapter {name}: unknown; use one of: {', '.join(readers)}") from None
