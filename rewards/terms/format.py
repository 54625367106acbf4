"""A reward for form alone."""

from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class Format:
    """RSafe's fmt: 1 if the answer passes the gate, else 0. There it weighs 0.1, beside 0.9 for a right verdict.

    The gate is that of the whole reward: `blocks` is RSafe's, `tags` asks for more.

    >>> from rewards import SafetyReward
    >>> reward = SafetyReward.from_config({"terms": {"format": {"weight": 0.1}}}, "guardreasoner_vl")
    >>> reward("no tags at all", {}, reasoning_tokens=1).terms
    {'format': 0.0}
    """

    def __call__(self, answer: Answer) -> float:
        """The gate, 0 or 1."""
        return answer.gate
