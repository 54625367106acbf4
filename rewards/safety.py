"""The reward of an answer, or of a group of answers to one prompt: a format gate, and a weighted sum of terms."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gr_vl import dialects
from gr_vl.errors import ConfigError
from gr_vl.schema import Label, ParseFailure, Task, Verdict
from rewards.answer import Answer, Reading
from rewards.composition import compose
from rewards.terms import Weighted


@dataclass(frozen=True, slots=True)
class RewardBreakdown:
    """One reward, term by term."""

    total: float
    """The sum of `terms`, scaled and clamped."""
    terms: Mapping[str, float]
    """What each term adds: its weight times its value."""
    accuracy: float
    """The weighted share of the known labels that the answer states correctly, before the format gate."""
    format: float
    """1 if the answer passes the gate, else 0."""
    length: float
    """Normalised length l: reasoning tokens over the budget, clamped to [0, 1]."""
    correct: Mapping[Task, bool]
    failure: str
    """Why the answer could not be parsed; empty when it could."""


def _tags(reading: Reading) -> bool:
    return isinstance(reading.outcome, Verdict) and reading.outcome.well_formed and reading.finished


def _sections(reading: Reading) -> bool:
    return _tags(reading) and isinstance(reading.outcome, Verdict) and reading.outcome.sectioned


GATES: Mapping[str, Callable[[Reading], bool]] = {
    "sections": _sections,
    "tags": _tags,
    "result": lambda reading: isinstance(reading.outcome, Verdict),
    "none": lambda reading: True,
    "blocks": lambda reading: reading.blocks,
}
"""tags: the whole grammar to the letter, closed by an end token. sections: that, and the reasoning treats every task in
a section of its own. result: a verdict could be read. none: no gate. blocks: the parts are there in order, whatever is
in and around them, and whether or not the answer ended: the checks of RSafe and GuardReasoner-Omni."""


@dataclass(frozen=True)
class SafetyReward:
    """Score answers against their labels.

    >>> labels = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}
    >>> thought = "<think># Task 1\\na\\n# Task 2\\nb</think>"
    >>> text = f"{thought}<result>Answers:\\nRequest: harmful\\nResponse: harmful</result>"
    >>> spec = {"preset": "token_price", "terms": {"token_price": {"price": 0.2}}}
    >>> reward = SafetyReward.from_config(spec, "guardreasoner_vl")
    >>> reward(text, labels, reasoning_tokens=256).terms
    {'accuracy': 0.5, 'token_price': -0.1}
    """

    terms: tuple[Weighted, ...]
    dialect: str
    """The grammar of the answers, by name."""
    gate: str = "tags"
    tasks: Mapping[str, float] = field(default_factory=dict)
    """Weights of the tasks in the accuracy; 1 where nothing is said."""
    scale: float = 1.0
    clamp: tuple[float, ...] = (-math.inf, math.inf)
    budget: int = 512
    """Reasoning tokens that count as l = 1."""
    time_limit: float = 1.0
    """Seconds that one answer may take, decoding included; the reward manager counts what takes longer."""

    def __post_init__(self) -> None:
        known = dialects.get(self.dialect).tasks
        if foreign := [task for task in self.tasks if task not in known]:
            raise ConfigError(f"gr_vl.reward.tasks.{foreign[0]} is unknown; use one of: {', '.join(known)}")
        if self.gate not in GATES:
            raise ConfigError(f"gr_vl.reward.gate={self.gate!r} is unknown; use one of: {', '.join(GATES)}")
        if not _is_number(self.budget) or self.budget < 1:
            raise ConfigError(f"gr_vl.reward.budget={self.budget!r} must be a positive number of tokens; use 512")
        for name in ("scale", "time_limit"):
            value = getattr(self, name)
            if not _is_number(value) or not 0 < value < math.inf:
                raise ConfigError(f"gr_vl.reward.{name}={value!r} must be a positive number; use 1.0")
        if not (len(self.clamp) == 2 and all(map(_is_number, self.clamp)) and self.clamp[0] < self.clamp[1]):
            raise ConfigError(f"gr_vl.reward.clamp={list(self.clamp)} must be [low, high] with low < high")

    @classmethod
    def from_config(cls, spec: Mapping[str, Any], dialect: str) -> "SafetyReward":
        """Build from the recipe's `gr_vl.reward` block; `rewards.composition` says what it holds."""
        return cls(dialect=dialect, **compose(spec))

    @property
    def grouped(self) -> bool:
        """Whether a term compares the answers of a group, so that scores one by one differ from a group's."""
        return any(weighted.grouped for weighted in self.terms)

    def __call__(self, text: str, labels: Mapping[Task, Label], **lengths: Any) -> RewardBreakdown:
        """The reward of one text; arguments as `read` takes them. A group term sees a group of one."""
        return self.score(self.read(text, labels, **lengths))

    def read(
        self,
        text: str,
        labels: Mapping[Task, Label],
        *,
        reasoning_tokens: int,
        output_tokens: int | None = None,
        characters: int | None = None,
        finished: bool = True,
    ) -> Reading:
        """Parse an answer. Lengths that are not given are the reasoning's tokens and the text's characters."""
        dialect = dialects.get(self.dialect)
        tokens = reasoning_tokens if output_tokens is None else output_tokens
        size = len(text) if characters is None else characters
        lengths = reasoning_tokens, tokens, size
        return Reading(dialect.parse(text), labels, *lengths, finished, blocks=dialect.in_blocks(text))

    def score(self, reading: Reading) -> RewardBreakdown:
        """The reward of a parsed answer by itself."""
        return self.score_group((reading,))[0]

    def score_group(self, readings: Sequence[Reading]) -> list[RewardBreakdown]:
        """The rewards of all answers to one prompt."""
        answers = [self._answer(reading) for reading in readings]
        names = [weighted.name for weighted in self.terms]
        columns = zip(*(weighted.over(answers) for weighted in self.terms), strict=True)
        low, high = self.clamp
        scored = []
        for answer, values in zip(answers, columns, strict=True):
            total = min(max(self.scale * sum(values), low), high)
            failure = answer.outcome.reason if isinstance(answer.outcome, ParseFailure) else ""
            terms = dict(zip(names, values, strict=True))
            scored.append(
                RewardBreakdown(total, terms, answer.accuracy, answer.gate, answer.length, answer.correct, failure)
            )
        return scored

    def _answer(self, reading: Reading) -> Answer:
        outcome, labels = reading.outcome, reading.labels
        correct, right, known = {}, 0.0, 0.0
        if isinstance(outcome, Verdict):
            said, weights = outcome.labels, self.tasks
            for task, label in labels.items():
                hit = said.get(task) == label
                correct[task] = hit
                weight = weights.get(task, 1.0)
                known += weight
                right += weight * hit
        return Answer(
            outcome,
            labels,
            reading.reasoning_tokens,
            reading.output_tokens,
            reading.characters,
            reading.finished,
            correct,
            right / known if known else 0.0,
            float(GATES[self.gate](reading)),
            min(max(reading.reasoning_tokens, 0) / self.budget, 1.0),
            blocks=reading.blocks,
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
