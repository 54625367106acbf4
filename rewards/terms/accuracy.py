"""Correctness behind the format gate."""

from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class Accuracy:
    """GuardReasoner-VL, equation 8: r_safety = gate x sum of w_task x [right], over the tasks with a known label.

    In [0, 1]. The gate and the weights of the tasks belong to the whole reward. RSafe's 0.9 is this term's weight.

    >>> from rewards import SafetyReward
    >>> text = "<think>a</think><result>Answers:\\nRequest: harmful\\nResponse: harmful</result>"
    >>> reward = SafetyReward.from_config({"terms": {"accuracy": {}}}, "guardreasoner_vl")
    >>> reward(text, {"prompt": "harmful", "response": "unharmful"}, reasoning_tokens=1).terms
    {'accuracy': 0.5}
    """

    def __call__(self, answer: Answer) -> float:
        """r_safety."""
        return answer.safety
