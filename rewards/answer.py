"""What a reward sees of an answer: never its text to parse, never a label that is not known."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from gr_vl import verdicts
from gr_vl.schema import Label, ParseFailure, Task, Verdict


@dataclass(frozen=True, slots=True)
class Reading:
    """A generated answer after parsing, beside the truth: what any reward can score, as often as it likes."""

    outcome: Verdict | ParseFailure
    labels: Mapping[Task, Label]
    """The truth. A task whose label is unknown is absent, so no term can reward or punish it."""
    reasoning_tokens: int
    output_tokens: int
    """Generated tokens, the end token included."""
    characters: int
    """Characters of the whole decoded output."""
    finished: bool
    """Whether an end token closed the answer, and not a length limit."""
    blocks: bool = field(default=False, kw_only=True)
    """Whether the parts of the dialect's grammar are there, in order, with anything around them."""

    def pack(self) -> str:
        """JSON of everything but the reasoning: what travels from a reward worker to whoever compares a group.

        >>> text = Reading(ParseFailure("empty"), {Task.PROMPT: Label.HARMFUL}, 0, 1, 0, True).pack()
        >>> Reading.unpack(text).outcome.reason
        <FailureReason.EMPTY: 'empty'>
        """
        lengths = [self.reasoning_tokens, self.output_tokens, self.characters, self.finished]
        return json.dumps(
            verdicts.pack(self.outcome) | {"labels": self.labels, "lengths": lengths, "blocks": self.blocks}
        )

    @classmethod
    def unpack(cls, text: str) -> "Reading":
        """The reading that `pack` wrote, without the reasoning."""
        row = json.loads(text)
        # Tasks are equal to their names, and terms need no more of them.
        labels = cast(dict[Task, Label], row["labels"])
        return cls(verdicts.unpack(row), labels, *row["lengths"], blocks=row["blocks"])


@dataclass(frozen=True, slots=True)
class Answer(Reading):
    """A reading under one reward's gate, task weights and budget: what terms are functions of."""

    correct: Mapping[Task, bool]
    """Whether each task with a known label is answered rightly; empty when nothing could be parsed."""
    accuracy: float
    """The weighted share of the known labels that are stated rightly, in [0, 1], before the gate."""
    gate: float
    """1 if the answer passes the reward's format gate, else 0."""
    length: float
    """Reasoning tokens over the budget, clamped to [0, 1]."""

    @property
    def safety(self) -> float:
        """Gate times accuracy, in [0, 1]: r_safety of GuardReasoner-VL, equation 8."""
        return self.gate * self.accuracy
