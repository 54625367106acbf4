"""Judged answers as one integer table, and F1 of every part of it over all resamples at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gr_vl.evaluation.metrics.bootstrap import Bootstrap, Values
from gr_vl.evaluation.metrics.confusion import UNPARSABLE, Cell, Cells, cell
from gr_vl.evaluation.metrics.judged import Judged, tasks_of
from gr_vl.schema import Modality, Task

Mask = NDArray[np.bool_]
_SOURCE, _MODALITY, _CELLS = range(3)  # columns; from _CELLS on, one for each rule and task


def cells_of(judged: Sequence[Judged], tasks: Sequence[Task], unparsable: str) -> Cells:
    """A row a sample and a column a task: where the answer falls."""
    rows = [[cell(item, task, unparsable) for task in tasks] for item in judged]
    return np.array(rows, dtype=np.int64).reshape(len(judged), len(tasks))


def f1_of_draws(places: Cells, draws: NDArray[np.int64]) -> Values:
    """F1 of each draw, not a number where no sample is positive; `places` holds the cell of each kind."""
    tp, fp, fn = (draws @ (places == place) for place in (Cell.TP, Cell.FP, Cell.FN))
    return np.where(tp + fn > 0, 2 * tp / np.maximum(2 * tp + fp + fn, 1), np.nan)


def mean_of(values: Sequence[Values], weights: Sequence[Any] | None = None) -> Values:
    """Mean of several statistics draw by draw, of those that are known there."""
    stacked = np.stack(values)
    scale = np.where(np.isnan(stacked), 0.0, 1.0 if weights is None else np.stack(weights))
    total = scale.sum(axis=0)
    summed = (np.nan_to_num(stacked) * scale).sum(axis=0)
    return np.where(total > 0, summed / np.where(total > 0, total, 1), np.nan)


class Table:
    """The samples of one evaluation, resampled together: every number of a report comes from the same resamples."""

    def __init__(self, judged: Sequence[Judged], seed: int) -> None:
        self.tasks = tasks_of(judged)
        self.sources = sorted({item.sample.source for item in judged})
        self.modalities = sorted({item.sample.modality for item in judged})
        places = {source: index for index, source in enumerate(self.sources)}
        groups = [[places[i.sample.source], self.modalities.index(i.sample.modality)] for i in judged]
        cells = [cells_of(judged, self.tasks, rule) for rule in UNPARSABLE]
        self.bootstrap = Bootstrap(np.hstack([np.array(groups), *cells]), seed)
        self._kinds = self.bootstrap.kinds

    def part(self, *, source: str | None = None, modality: Modality | None = None) -> Mask:
        """Which kinds belong to a source or to a modality; all without either."""
        mask: Mask = np.ones(len(self._kinds), dtype=bool)
        if source is not None:
            mask &= self._kinds[:, _SOURCE] == self.sources.index(source)
        if modality is not None:
            mask &= self._kinds[:, _MODALITY] == self.modalities.index(modality)
        return mask

    def f1(self, task: Task, rule: str, part: Mask) -> Values:
        """F1 of every draw."""
        return f1_of_draws(self._places(task, rule)[part], self.bootstrap.draws[:, part])

    def f1_by_source(self, task: Task, rule: str, *, weighted: bool) -> Values:
        """Mean F1 over sources of every draw, weighted by the measured samples, or plain."""
        parts = [self.part(source=source) for source in self.sources]
        scored = self._places(task, rule) != Cell.UNSCORED
        weights = [self.bootstrap.draws @ (part & scored) for part in parts]
        return mean_of([self.f1(task, rule, part) for part in parts], weights if weighted else None)

    def _places(self, task: Task, rule: str) -> Cells:
        first = _CELLS + len(self.tasks) * UNPARSABLE.index(rule)
        places: Cells = self._kinds[:, first + self.tasks.index(task)]
        return places
