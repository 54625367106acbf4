"""Short answers among the right ones."""

from collections.abc import Sequence
from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class Short:
    """A bonus for right answers only: size x (longest - own) / (longest - shortest), over the right ones of a group.

    Right means that every known label is stated and the gate passed; lengths are reasoning tokens. Wrong answers, and
    right ones that are alone or all equally long, get 0. The shape is prime-rl's; being relative, it makes as much of
    one token as of a hundred.

    >>> from rewards import SafetyReward
    >>> reward = SafetyReward.from_config({"terms": {"short": {}}}, "guardreasoner_vl")
    >>> text = "<think>a</think><result>Answers:\\nRequest: harmful\\nResponse: harmful</result>"
    >>> group = [reward.read(text, {"prompt": "harmful"}, reasoning_tokens=tokens) for tokens in (10, 30, 50)]
    >>> [got.total for got in reward.score_group(group)]
    [0.2, 0.1, 0.0]
    """

    size: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.size < 0.5:
            raise ValueError(f"short.size={self.size} must lie in [0, 0.5), below a step of accuracy; lower it")

    def over(self, group: Sequence[Answer]) -> list[float]:
        """The bonus of each answer, in [0, size]."""
        right = [answer.reasoning_tokens for answer in group if answer.safety >= 1.0]
        if not right or min(right) == max(right):
            return [0.0] * len(group)
        longest, spread = max(right), max(right) - min(right)
        share = [(longest - answer.reasoning_tokens) / spread if answer.safety >= 1.0 else 0.0 for answer in group]
        return [self.size * value for value in share]
