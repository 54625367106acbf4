"""Bootstrap intervals (95%) of anything that is a function of how often each kind of row occurs.

Bias-corrected and accelerated (Efron 1987, "Better bootstrap confidence intervals", section 4): the plain percentile
interval is too narrow where a set holds few errors. `bench/bootstrap_coverage.py` measures both. A statistic that no
resample can move, such as the F1 of a guard without a single error, has a point for an interval: read it as unknown.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Interval = tuple[float, float]
Values = NDArray[np.float64]
RESAMPLES = 1000
LEVELS = (0.025, 0.975)


class Estimate(NamedTuple):
    """A number and its 95% interval; None where it cannot be measured."""

    value: float | None
    interval: Interval | None


class Bootstrap:
    """Resamples of the rows of an integer table. Rows that are equal are interchangeable, so kinds are counted.

    A statistic is a function from `draws` (rows: how often each of `kinds` occurs) to one value a row, not a number
    where it is undefined. The first draw is the sample itself, the next leave one row of each kind out.
    """

    def __init__(self, rows: NDArray[np.int64], seed: int, resamples: int = RESAMPLES) -> None:
        self.kinds, counts = np.unique(rows, axis=0, return_counts=True)
        drawn = np.random.default_rng(seed).multinomial(len(rows), counts / len(rows), size=resamples)
        self.draws = np.vstack([counts, counts - np.eye(len(counts), dtype=counts.dtype), drawn])
        self._counts = counts

    def estimate(self, values: Values) -> Estimate:
        """The value of the sample and its interval, from the statistic of every draw."""
        kinds = len(self._counts)
        value, left_out, drawn = values[0], values[1 : kinds + 1], values[kinds + 1 :]
        drawn = drawn[~np.isnan(drawn)]
        if np.isnan(value) or not len(drawn):
            return Estimate(None, None)
        low, high = np.quantile(drawn, self._levels(value, left_out, drawn))
        return Estimate(float(value), (float(low), float(high)))

    def _levels(self, value: float, left_out: Values, drawn: Values) -> Any:
        from scipy.special import ndtr, ndtri

        known = ~np.isnan(left_out)
        weights = self._counts[known]
        moves = np.average(left_out[known], weights=weights) - left_out[known] if known.any() else np.zeros(1)
        spread = float(np.sum(weights * moves**2)) if known.any() else 0.0
        if spread < 1e-18:
            return LEVELS
        bend = float(np.sum(weights * moves**3)) / (6 * spread**1.5)
        below = (np.mean(drawn < value) + np.mean(drawn <= value)) / 2
        shift = ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn)))
        normal = shift + ndtri(LEVELS)
        return ndtr(shift + normal / (1 - bend * normal))
