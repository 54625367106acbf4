"""The clip range as a pure function of the step: explore with a wide range, exploit with a narrow one.

GuardReasoner-VL, equation 7: B_s = eps * prod_{i=1..s} (T - i) / T, which is about eps * exp(-s (s + 1) / 2T) and
reaches 0 at the last step. It is not scale-free: with eps = 0.2 the range is under 0.02 for 61% of 23 steps and for
93% of 1,000. The other kinds are functions of the fraction s / T and keep their shape at any length.

The upper bound may be wider than the lower one (DAPO, arXiv 2503.14476, clip-higher: 0.2 and 0.28). Both shrink by the
same factor, so that their ratio is the same at every step.
"""

import math
from dataclasses import dataclass

from gr_vl.errors import ConfigError

KINDS = ("paper", "constant", "linear", "cosine")
STILL = 0.02
"""A clip range below this hardly lets a token's probability move."""


@dataclass(frozen=True)
class ClipSchedule:
    """The clip range of every step of a run.

    >>> [round(ClipSchedule().at(step, 23), 3) for step in (1, 2, 3, 23)]
    [0.191, 0.175, 0.152, 0.0]
    """

    kind: str = "paper"
    """One of `KINDS`."""
    epsilon: float = 0.2
    """The range that the schedule starts from; the ratio is clipped to [1 - range, 1 + range]."""
    final: float = 0.0
    """The range of the last step, for linear and cosine."""
    epsilon_high: float | None = None
    """What the upper bound starts from, where it differs from the lower one; `epsilon` and `final` are the lower's."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"gr_vl.clip.kind={self.kind!r} is unknown; use one of: {', '.join(KINDS)}")
        if not 0 < self.epsilon < 1:
            raise ConfigError(f"gr_vl.clip.epsilon={self.epsilon} must lie between 0 and 1, both excluded; try 0.2")
        if not 0 <= self.final <= self.epsilon:
            raise ConfigError(f"gr_vl.clip.final={self.final} must lie between 0 and epsilon={self.epsilon}; lower it")
        high = self.epsilon_high
        if high is not None and not (isinstance(high, int | float) and 0 < high < math.inf):
            raise ConfigError(
                f"gr_vl.clip.epsilon_high={high} must be a positive number, or null for epsilon; try 0.28"
            )

    def at(self, step: int, total_steps: int) -> float:
        """The range of `step`, counted from 1 to `total_steps`: the lower bound's, where the two differ.

        Raises ValueError for a step outside of the run.
        """
        if not 1 <= step <= total_steps:
            raise ValueError(f"step {step} is outside of 1..{total_steps}")
        if self.kind == "constant":
            return self.epsilon
        if self.kind == "paper":
            return self.epsilon * math.prod((total_steps - i) / total_steps for i in range(1, step + 1))
        left = 1 - (step - 1) / max(total_steps - 1, 1)
        weight = left if self.kind == "linear" else (1 - math.cos(math.pi * left)) / 2
        return self.final + (self.epsilon - self.final) * weight

    def bounds(self, step: int, total_steps: int) -> tuple[float, float]:
        """How far below and above 1 the ratio may go at `step`. Raises as `at`.

        >>> ClipSchedule("linear", epsilon_high=0.3).bounds(1, 5)
        (0.2, 0.3)
        """
        low = self.at(step, total_steps)
        return low, low if self.epsilon_high is None else self.epsilon_high * (low / self.epsilon)

    def still(self, total_steps: int) -> float:
        """Share of the steps in which even the wider bound is under `STILL`.

        >>> [round(ClipSchedule().still(total), 2) for total in (23, 1000)]
        [0.61, 0.93]
        """
        steps = range(1, total_steps + 1)
        return sum(max(self.bounds(step, total_steps)) < STILL for step in steps) / total_steps

    def curve(self, total_steps: int) -> list[float]:
        """What `at` gives for every step of a run."""
        return [self.at(step, total_steps) for step in range(1, total_steps + 1)]
