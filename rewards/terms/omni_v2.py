"""GuardReasoner-Omni, second version: concise correctness."""

import math
from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class OmniV2:
    """A price of length when right: -gate x [accuracy = 1] x size x tanh(max(0, L - free) / free), L in output tokens.

    As its code intends; as shipped, a later assignment discards the penalty and accuracy alone remains. A right answer
    of up to 250 tokens keeps its 1; a very long one approaches 0.6, still above half right.

    >>> from rewards import SafetyReward
    >>> text = "<think>a</think><result>Answers:\\nRequest: harmful\\nResponse: harmful</result>"
    >>> reward = SafetyReward.from_config({"preset": "omni_v2"}, "guardreasoner_vl")
    >>> round(reward(text, {"prompt": "harmful"}, reasoning_tokens=0, output_tokens=500).total, 4)
    0.6954
    """

    size: float = 0.4
    free: float = 250.0

    def __post_init__(self) -> None:
        if not 0 <= self.size < 0.5:
            raise ValueError(f"omni_v2.size={self.size} must lie in [0, 0.5), below a step of accuracy; use 0.4")
        if not 0 < self.free < math.inf:
            raise ValueError(f"omni_v2.free={self.free} must be a positive number of tokens; use 250")

    def __call__(self, answer: Answer) -> float:
        """The penalty, in [-size, 0]."""
        if answer.accuracy < 1.0:
            return 0.0
        return -answer.gate * self.size * math.tanh(max(0.0, (answer.output_tokens - self.free) / self.free))
