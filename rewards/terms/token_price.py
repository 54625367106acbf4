"""A price for every token of reasoning."""

from dataclasses import dataclass

from rewards.answer import Answer


@dataclass(frozen=True)
class TokenPrice:
    """Ours: -price x l, right or wrong. Below 0.5, the step between two accuracies, order by correctness never breaks.

    That holds for equal task weights and an accuracy of weight 1; `tie_break` keeps the order whatever the weights.

    >>> from rewards import SafetyReward
    >>> reward = SafetyReward.from_config({"budget": 100, "terms": {"token_price": {"price": 0.2}}}, "guardreasoner_vl")
    >>> reward("nothing", {}, reasoning_tokens=50).total
    -0.1
    """

    price: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.price < 0.5:
            raise ValueError(f"token_price.price={self.price} must lie in [0, 0.5); lower it")

    def __call__(self, answer: Answer) -> float:
        """The price, in [-price, 0]."""
        return -self.price * answer.length
