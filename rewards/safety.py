"""The safety reward of GuardReasoner-VL (equations 8 to 10): format gate x accuracy, then the price of length."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gr_vl import dialects
from gr_vl.errors import ConfigError
from gr_vl.schema import Label, ParseFailure, Task
from rewards.length import LengthTerm, TokenPrice, length_term


@dataclass(frozen=True)
class RewardBreakdown:
    """One reward, term by term."""

    total: float
    accuracy: float
    """Share of the known labels that the answer states correctly, before the format gate."""
    format: float
    """1 if the answer is well formed and finished, else 0."""
    length: float
    """Normalised length l: reasoning tokens over the budget, clamped to [0, 1]."""
    correct: Mapping[Task, bool] = field(default_factory=dict)
    failure: str = ""
    """Why the answer could not be parsed; empty when it could."""


@dataclass(frozen=True)
class SafetyReward:
    """Score one answer against its labels.

    >>> labels = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}
    >>> text = "<think>a</think><result>Answers:\\nRequest: harmful\\nResponse: harmful</result>"
    >>> SafetyReward(length=TokenPrice(0.2))(text, labels, reasoning_tokens=256).total
    0.4
    """

    dialect: str = "guardreasoner_vl"
    length: LengthTerm = field(default_factory=TokenPrice)
    budget: int = 512
    """Reasoning tokens that count as l = 1."""

    def __post_init__(self) -> None:
        dialects.get(self.dialect)
        if self.budget < 1:
            raise ConfigError(f"gr_vl.reward.budget={self.budget} must be a positive number of tokens")

    @classmethod
    def from_config(cls, spec: Mapping[str, Any], dialect: str) -> "SafetyReward":
        """Build from the recipe's `gr_vl.reward` block: `{budget: int, length: KIND, KIND: {**parameters}}`."""
        term = length_term(spec["length"], spec.get(spec["length"]) or {})
        return cls(dialect=dialect, length=term, budget=int(spec["budget"]))

    def __call__(
        self, text: str, labels: Mapping[Task, Label], *, reasoning_tokens: int, finished: bool = True
    ) -> RewardBreakdown:
        """The reward of `text`. `finished` is false when generation stopped at a limit and not at an end token."""
        outcome = dialects.get(self.dialect).parse(text)
        length = min(max(reasoning_tokens, 0) / self.budget, 1.0)
        if isinstance(outcome, ParseFailure):
            return RewardBreakdown(self.length(0.0, length), 0.0, 0.0, length, failure=outcome.reason)
        correct = {task: outcome.labels.get(task) == label for task, label in labels.items()}
        accuracy = sum(correct.values()) / len(correct) if correct else 0.0
        gate = float(outcome.well_formed and finished)
        return RewardBreakdown(self.length(gate * accuracy, length), accuracy, gate, length, correct)
