"""Two guards on the same samples: what differs, and whether chance explains it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gr_vl.errors import DataError
from gr_vl.evaluation.metrics.bootstrap import Bootstrap, Estimate, Interval, Values
from gr_vl.evaluation.metrics.confusion import Cell, Cells
from gr_vl.evaluation.metrics.judged import Judged, tasks_of
from gr_vl.evaluation.metrics.table import cells_of, f1_of_draws, mean_of
from gr_vl.schema import Task

_RIGHT = (Cell.TP, Cell.TN)


@dataclass(frozen=True)
class Paired:
    """One task as two guards answered it."""

    task: Task
    mended: int
    """Samples that the reference got wrong and the guard got right."""
    broken: int
    """Samples that the reference got right and the guard got wrong."""
    p: float
    """Exact McNemar test, two-sided: were both equally often right, how likely is a split at least this uneven?"""
    f1: Estimate
    """Difference in F1 with its paired bootstrap interval."""


def compare(
    judged: Sequence[Judged], reference: Sequence[Judged], *, unparsable: str = "wrong", seed: int = 0
) -> list[Paired]:
    """Task by task, the guard against the reference. Under `drop`, McNemar counts what both answers could be parsed of.

    Raises DataError when the samples differ.
    """
    from scipy.stats import binomtest

    tasks, ours, theirs = _both(judged, reference, unparsable)
    bootstrap, found = Bootstrap(np.hstack([ours, theirs]), seed), []
    for column, task in enumerate(tasks):
        scored = (ours[:, column] != Cell.UNSCORED) & (theirs[:, column] != Cell.UNSCORED)
        right, was_right = (np.isin(cells[scored, column], _RIGHT) for cells in (ours, theirs))
        mended, broken = int((right & ~was_right).sum()), int((~right & was_right).sum())
        p = float(binomtest(mended, mended + broken).pvalue) if mended + broken else 1.0
        gain = _f1(bootstrap, column) - _f1(bootstrap, len(tasks) + column)
        found.append(Paired(task, mended, broken, p, bootstrap.estimate(gain)))
    return found


def difference_interval(
    judged: Sequence[Judged], reference: Sequence[Judged], *, unparsable: str = "wrong", seed: int = 0
) -> Interval | None:
    """Paired bootstrap interval (95%) of the difference in `mean_f1` of two guards on the same samples.

    A resample draws samples, each with both answers. None when F1 cannot be measured; DataError when samples differ.
    """
    tasks, ours, theirs = _both(judged, reference, unparsable)
    bootstrap = Bootstrap(np.hstack([ours, theirs]), seed)
    means = [mean_of([_f1(bootstrap, first + column) for column in range(len(tasks))]) for first in (0, len(tasks))]
    return bootstrap.estimate(means[0] - means[1]).interval


def _both(
    judged: Sequence[Judged], reference: Sequence[Judged], unparsable: str
) -> tuple[tuple[Task, ...], Cells, Cells]:
    if [_identity(item) for item in judged] != [_identity(item) for item in reference]:
        raise DataError("two guards answered different samples; evaluate both on the same split")
    stated = tasks_of(reference)
    tasks = tuple(task for task in tasks_of(judged) if task in stated)
    return tasks, cells_of(judged, tasks, unparsable), cells_of(reference, tasks, unparsable)


def _identity(item: Judged) -> tuple[str, str, str | None, dict[Task, object]]:
    # Corpora built from other seeds use the same ids for other samples.
    return item.sample.id, item.sample.prompt, item.sample.response, dict(item.sample.labels)


def _f1(bootstrap: Bootstrap, column: int) -> Values:
    return f1_of_draws(bootstrap.kinds[:, column], bootstrap.draws)
