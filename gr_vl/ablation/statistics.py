"""What few seeds say: mean and spread of each variant, and paired differences with Student's t interval."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from scipy.stats import t

LEVEL = 0.95
"""How often such intervals hold the true difference, if differences are normal and seeds independent."""


@dataclass(frozen=True)
class Spread:
    """Several runs of one variant."""

    mean: float
    sd: float | None
    """Standard deviation of a run (n - 1 in the denominator), not of the mean; None for a single run."""
    n: int


@dataclass(frozen=True)
class Difference:
    """A variant minus the reference, seed by seed."""

    mean: float
    low: float | None
    high: float | None
    """Bounds of the interval of the mean; None for fewer than two seeds."""
    n: int


def spread(values: Sequence[float]) -> Spread | None:
    """Mean and standard deviation; None when there is no value.

    >>> spread([1.0, 2.0, 3.0])
    Spread(mean=2.0, sd=1.0, n=3)
    """
    if not values:
        return None
    return Spread(mean(values), stdev(values) if len(values) > 1 else None, len(values))


def difference(values: Mapping[int, float], reference: Mapping[int, float]) -> Difference | None:
    """The mean difference over the seeds that both have, with its interval; None when they share no seed."""
    differences = [value - reference[seed] for seed, value in values.items() if seed in reference]
    found = spread(differences)
    if found is None:
        return None
    if found.sd is None:
        return Difference(found.mean, None, None, found.n)
    half = float(t.ppf((1 + LEVEL) / 2, found.n - 1)) * found.sd / math.sqrt(found.n)
    return Difference(found.mean, found.mean - half, found.mean + half, found.n)
