"""The reward that the released code of GuardReasoner-VL computes, which is not its paper's."""

import math
from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class ReleasedCode:
    """r = (-1 + 0.5 for each right task) / l^2 with l = characters of the whole output / 3072, not clamped at 1.

    A missing result leaves -1; a missing <think> is not punished, which is the gate `result`. `cut` is the Eco variant:
    500 means that l is 500/3072 once the output has 500 characters. Departures: an empty output, where the code divides
    by zero, counts as one character; labels are read by this project's parser, which wants both of them, takes
    `harmless` for unharmful, and reads nothing after a <think> that never closes, where the code reads the result all
    the same: -1 here, up to 0 there; with other task weights, or one known label, r_safety stands for the two halves.

    >>> from rewards import SafetyReward
    >>> reward = SafetyReward.from_config({"preset": "released_code"}, "guardreasoner_vl")
    >>> reward("x" * 1536, {}, reasoning_tokens=0).total
    -4.0
    """

    per: float = 3072.0
    cut: float = math.inf

    def __post_init__(self) -> None:
        if not 0 < self.per < math.inf:
            raise ValueError(f"released_code.per={self.per} must be a positive number of characters; use 3072")
        if not self.cut >= 1:
            raise ValueError(f"released_code.cut={self.cut} must be at least 1 character; use 500, or .inf for none")

    def __call__(self, answer: Answer) -> float:
        """The reward, at most 0 and not bounded below by less than -per^2."""
        return (answer.safety - 1.0) / (min(max(answer.characters, 1), self.cut) / self.per) ** 2
