"""Length as a tie-break that can never outweigh correctness."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rewards.answer import Answer


@dataclass(frozen=True)
class TieBreak:
    """Ours: -size x gap x l for answers that are at least partly right, where gap is the group's smallest step.

    The gap is the smallest difference between two values of r_safety that occur in the group, and 0 when all are equal.
    Beside an accuracy of at least the same weight:

    - r_safety a < b in one group means reward a < reward b, for any task weights and lengths;
    - two answers of equal r_safety differ by at most `size` times the smallest difference that correctness makes there,
      and still do after any shift and any division of the group's rewards: so also after GRPO's division by the spread;
    - a group of equal r_safety gets no length pressure at all. A price, however small, would be blown up to full size
      there by that division, which cannot tell small from large; only a constant survives it.

    The last point is also what it costs: where every answer is right, nothing makes them shorter.

    >>> from rewards import SafetyReward
    >>> reward = SafetyReward.from_config({"preset": "bounded", "budget": 100}, "guardreasoner_vl")
    >>> thought = "<think># Task 1\\na\\n# Task 2\\nb</think>"
    >>> text = f"{thought}<result>Answers:\\nRequest: harmful\\nResponse: harmful</result>"
    >>> group = [reward.read(text, {"prompt": said}, reasoning_tokens=50) for said in ("harmful", "unharmful")]
    >>> [got.total for got in reward.score_group(group)], reward.score(group[0]).total
    ([0.9, 0.0], 1.0)
    """

    size: float = 0.2

    def __post_init__(self) -> None:
        if not 0 <= self.size < 1:
            raise ValueError(f"tie_break.size={self.size} must lie in [0, 1), below a step of correctness; use 0.2")

    def over(self, group: Sequence[Answer]) -> list[float]:
        """The price of each answer's length, in [-size x gap, 0]."""
        levels = sorted({answer.safety for answer in group})
        gap = min((high - low for low, high in pairwise(levels)), default=0.0)
        return [-self.size * gap * answer.length if answer.safety > 0 else 0.0 for answer in group]
