"""Length terms: how the price of reasoning enters the reward.

Each takes the gated accuracy r_safety in [0, 1] and the normalised length l in [0, 1] and returns the total reward.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from gr_vl.errors import ConfigError

LengthTerm = Callable[[float, float], float]


@dataclass(frozen=True)
class PaperLength:
    """GuardReasoner-VL, equation 10: r = (r_safety - 1) / min(l, beta)^2; beta = 1 is the base, 1/6 is Eco.

    A right answer costs nothing whatever its length; a wrong one is punished less the longer it reasons, up to beta.
    Departure: `floor` bounds l from below, since the published form divides by zero at an empty reasoning.

    >>> PaperLength()(0.5, 0.5), PaperLength(beta=1 / 6)(0.0, 1.0)
    (-2.0, -36.0)
    """

    beta: float = 1.0
    floor: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.floor <= self.beta <= 1:
            raise ConfigError(
                f"gr_vl.reward.paper: floor={self.floor}, beta={self.beta} break 0 < floor <= beta <= 1; mend either"
            )

    def __call__(self, r_safety: float, length: float) -> float:
        """The reward, at most 0."""
        return (r_safety - 1.0) / min(max(length, self.floor), self.beta) ** 2


@dataclass(frozen=True)
class TokenPrice:
    """Ours: r = r_safety - price * l. Below 0.5, the step between two accuracies, order by correctness never breaks.

    >>> TokenPrice(0.2)(1.0, 0.5)
    0.9
    """

    price: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.price < 0.5:
            raise ConfigError(f"gr_vl.reward.price.price={self.price} must lie in [0, 0.5); lower it")

    def __call__(self, r_safety: float, length: float) -> float:
        """The reward, within [-price, 1]."""
        return r_safety - self.price * length


LENGTH_TERMS: Mapping[str, type[PaperLength] | type[TokenPrice]] = {"paper": PaperLength, "price": TokenPrice}


def length_term(kind: str, parameters: Mapping[str, Any]) -> LengthTerm:
    """Build a term by name. ConfigError lists what is known otherwise."""
    if kind not in LENGTH_TERMS:
        raise ConfigError(f"gr_vl.reward.length={kind!r} is unknown; use one of: {', '.join(LENGTH_TERMS)}")
    known = LENGTH_TERMS[kind].__dataclass_fields__
    for name in parameters:
        if name not in known:
            raise ConfigError(f"gr_vl.reward.{kind}.{name} is unknown; {kind} takes: {', '.join(known)}")
    try:
        numbers = {name: float(value) for name, value in parameters.items()}
    except (TypeError, ValueError) as error:
        raise ConfigError(f"gr_vl.reward.{kind}={dict(parameters)}: {error}; parameters are numbers") from None
    return LENGTH_TERMS[kind](**numbers)
