"""The published reward of GuardReasoner-VL (arXiv 2505.11049)."""

import math
from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class Paper:
    """Equation 10: r = (r_safety - 1) / min(l, beta)^power, at most 0; beta 1 is the base, 1/6 is Eco, power is 2.

    l is reasoning tokens over the budget (the paper normalises to [0, 1] without saying by what). A right answer costs
    nothing whatever its length; a wrong one is punished less the longer it reasons, up to beta.
    Departure: `floor` bounds l from below, since the published form divides by zero at an empty reasoning.

    >>> from rewards import SafetyReward
    >>> reward = SafetyReward.from_config({"preset": "paper", "budget": 100}, "guardreasoner_vl")
    >>> reward("nothing", {}, reasoning_tokens=50).total
    -4.0
    """

    beta: float = 1.0
    floor: float = 0.05
    power: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.beta <= 1:
            raise ValueError(f"paper: floor={self.floor}, beta={self.beta} break 0 < floor <= beta <= 1; mend either")
        if not 0 <= self.power <= 4:
            raise ValueError(f"paper.power={self.power} must lie in [0, 4]; use the paper's 2")

    def __call__(self, answer: Answer) -> float:
        """The reward, from -floor^-power to 0."""
        return (answer.safety - 1.0) / math.pow(min(max(answer.length, self.floor), self.beta), self.power)
