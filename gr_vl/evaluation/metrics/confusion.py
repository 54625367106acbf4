"""Counts of one task and what they say, F1 = 2 TP / (2 TP + FP + FN) first, and means over benchmarks."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from gr_vl.errors import ConfigError
from gr_vl.evaluation.metrics.judged import Judged
from gr_vl.schema import Task

Cells = NDArray[np.int64]
UNPARSABLE = ("wrong", "drop")
"""The rules for what an answer does not state: it counts as wrong, or not at all."""


def failure_rule(name: str) -> str:
    """The name, if it is one of `UNPARSABLE`. Raises ConfigError otherwise."""
    if name not in UNPARSABLE:
        raise ConfigError(f"gr_vl.eval.unparsable={name!r} is unknown; use one of: {', '.join(UNPARSABLE)}")
    return name


class Cell(IntEnum):
    """Where an answer falls in the table of one task."""

    UNSCORED = 0
    TP = 1
    FP = 2
    FN = 3
    TN = 4


@dataclass(frozen=True)
class Confusion:
    """Counts of one task: a label is in the positive class or not. A ratio without a denominator is None."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0

    @property
    def n(self) -> int:
        """Samples that were measured."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def f1(self) -> float | None:
        """F1 of the positive class, or None when no sample is positive.

        >>> Confusion(tp=3, fp=1, fn=1).f1, Confusion(fp=1, tn=9).f1
        (0.75, None)
        """
        return 2 * self.tp / (2 * self.tp + self.fp + self.fn) if self.tp + self.fn else None

    @property
    def precision(self) -> float | None:
        """Share of the alarms that are right."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def recall(self) -> float | None:
        """Share of the positive class that is found."""
        return _ratio(self.tp, self.tp + self.fn)

    @property
    def false_positive_rate(self) -> float | None:
        """Share of the negative class that is flagged: over-refusal, on a set of benign prompts."""
        return _ratio(self.fp, self.fp + self.tn)

    @property
    def accuracy(self) -> float | None:
        """Share that is right."""
        return _ratio(self.tp + self.tn, self.n)


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def weighted_mean(values: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Mean of the known values by weight, or None when none is known.

    >>> weighted_mean([0.5, 1.0, None], [3, 1, 9])
    0.625
    """
    known = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    total = sum(weight for _, weight in known)
    return sum(value * weight for value, weight in known) / total if total else None


def plain_mean(values: Sequence[float | None]) -> float | None:
    """Mean of the known values, each counted once, or None when none is known."""
    return weighted_mean(values, [1.0] * len(values))


def cell(item: Judged, task: Task, unparsable: str) -> Cell:
    """Where the answer falls under a rule of `UNPARSABLE`, whether it holds no verdict or one without this task."""
    truth, said = item.truth.get(task), item.said.get(task)
    if truth is None or (said is None and unparsable == "drop"):
        return Cell.UNSCORED
    if truth in task.positives:
        return Cell.TP if said in task.positives else Cell.FN
    return Cell.FP if said is None or said in task.positives else Cell.TN


def counted(cells: Cells) -> Confusion:
    """The table of one column of cells."""
    counts = np.bincount(cells, minlength=len(Cell))
    return Confusion(*(int(counts[place]) for place in (Cell.TP, Cell.FP, Cell.FN, Cell.TN)))
