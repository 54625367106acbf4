"""What a score adds to a label: ranking (AUPRC), thresholds and calibration. A score is P(positive) of one task.

scikit-learn computes what it has. Expected calibration error is not in it: the mean over equally wide bins of
|share positive - mean score|, weighted by the samples in a bin (Guo et al. 2017, "On calibration of modern neural
networks", equation 3, for the positive class).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gr_vl.evaluation.metrics.judged import Judged
from gr_vl.schema import Task

BINS = 10


@dataclass(frozen=True)
class Bin:
    """Samples whose scores lie close together."""

    score: float
    """Mean score."""
    positive: float
    """Share that is positive."""
    n: int


@dataclass(frozen=True)
class Calibration:
    """The scores of one task. Samples without a score are left out; `n` says how many had one."""

    n: int
    auprc: float
    """Area under the precision-recall curve, as average precision."""
    ece: float
    bins: tuple[Bin, ...]
    """The reliability plot: bins that hold samples, by rising score."""
    thresholds: tuple[tuple[float, float, float], ...]
    """(threshold, precision, recall) where a score at or above the threshold is an alarm, by rising threshold."""


def calibration(judged: Sequence[Judged], task: Task) -> Calibration | None:
    """Measure the scores of a task; None without scores, or when all samples are of one class."""
    pairs = [
        (item.truth[task] in task.positives, item.answer.scores[task])
        for item in judged
        if task in item.truth and task in item.answer.scores
    ]
    if len({positive for positive, _ in pairs}) < 2:
        return None
    from sklearn.metrics import average_precision_score, precision_recall_curve

    truth, scores = (np.array(column, dtype=float) for column in zip(*pairs, strict=True))
    precision, recall, thresholds = precision_recall_curve(truth, scores)
    bins = _bins(truth, scores)
    return Calibration(
        n=len(pairs),
        auprc=float(average_precision_score(truth, scores)),
        ece=sum(part.n * abs(part.positive - part.score) for part in bins) / len(pairs),
        bins=bins,
        thresholds=tuple(zip(thresholds.tolist(), precision[:-1].tolist(), recall[:-1].tolist(), strict=True)),
    )


def _bins(truth: NDArray[np.float64], scores: NDArray[np.float64]) -> tuple[Bin, ...]:
    places = np.minimum((scores * BINS).astype(int), BINS - 1)
    members = [places == place for place in range(BINS)]
    return tuple(
        Bin(float(scores[member].mean()), float(truth[member].mean()), int(member.sum()))
        for member in members
        if member.any()
    )
