"""Output grammars. A dialect turns a sample into chat messages, into a target answer, and an answer into a verdict."""

from collections.abc import Mapping
from typing import Any, Protocol

from gr_vl.dialects.guardreasoner import GuardReasoner
from gr_vl.dialects.guardreasoner_vl import GuardReasonerVL
from gr_vl.dialects.rsafe import RSafe
from gr_vl.errors import ConfigError
from gr_vl.schema import Label, ParseFailure, Sample, Task, Verdict

Message = dict[str, Any]
"""A chat message whose content is a list of parts: {"type": "text", "text": ...} or {"type": "image"}."""


class Dialect(Protocol):
    """How one family of guards is spoken to and how its answers are read."""

    tasks: tuple[Task, ...]
    takes_policy: bool
    """Whether `Sample.policy` replaces the rules to judge by, or is ignored."""

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


_DIALECTS: dict[str, Dialect] = {
    "guardreasoner": GuardReasoner(),
    "guardreasoner_vl": GuardReasonerVL(),
    "rsafe": RSafe(),
}


def get(name: str) -> Dialect:
    """The dialect of that name; ConfigError lists the known ones otherwise."""
    try:
        return _DIALECTS[name]
    except KeyError:
        raise ConfigError(f"gr_vl.dialect={name!r} is unknown; use one of: {', '.join(sorted(_DIALECTS))}") from None
