"""GuardReasoner-Omni, first version: error-driven exploration."""

import math
from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class OmniV1:
    """A bonus for length when wrong: gate x [accuracy < 1] x size x tanh(L / scale), L in output tokens.

    Beside accuracy a right answer scores 1, a half right one at most 0.7, a wrong one at most 0.2.

    >>> from rewards import SafetyReward
    >>> text = "<think>a</think><result>Answers:\\nRequest: harmful\\nResponse: harmful</result>"
    >>> reward = SafetyReward.from_config({"preset": "omni_v1"}, "guardreasoner_vl")
    >>> round(reward(text, {"prompt": "unharmful"}, reasoning_tokens=0, output_tokens=300).total, 4)
    0.1523
    """

    size: float = 0.2
    scale: float = 300.0

    def __post_init__(self) -> None:
        if not 0 <= self.size < 0.5:
            raise ValueError(f"omni_v1.size={self.size} must lie in [0, 0.5), below a step of accuracy; use 0.2")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"omni_v1.scale={self.scale} must be a positive number of tokens; use 300")

    def __call__(self, answer: Answer) -> float:
        """The bonus, in [0, size]."""
        if answer.accuracy >= 1.0:
            return 0.0
        return answer.gate * self.size * math.tanh(answer.output_tokens / self.scale)
