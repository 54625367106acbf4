"""Everything that is measured on one guard and one corpus.

A task is measured where its label is known: one that needs a response only where there is one to judge. An
answer that does not state it counts as wrong (`wrong`) or not at all (`drop`): both are computed,
and it is always counted in a rate of its own. Without a positive sample F1 says nothing: it is None and is left out of
every average.

The headline F1 pools all samples. The paper averages over benchmarks instead, weighted by their number of samples;
that average over sources and the plain one stand beside it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gr_vl import dialects
from gr_vl.errors import DataError
from gr_vl.evaluation.metrics.bootstrap import Estimate, Interval, Values
from gr_vl.evaluation.metrics.confusion import (
    UNPARSABLE,
    Confusion,
    counted,
    failure_rule,
    plain_mean,
    weighted_mean,
)
from gr_vl.evaluation.metrics.judged import Judged, judge
from gr_vl.evaluation.metrics.table import Table, cells_of, mean_of
from gr_vl.schema import Answer, FailureReason, Modality, Sample, Task
from gr_vl.tasks import ordered

MEAN = "mean"
"""The row of `Evaluation.f1` that averages the tasks."""

Scores = Mapping[Task, Confusion]
Intervals = Mapping[Task, Interval | None]


@dataclass(frozen=True)
class Averages:
    """F1 over all samples, and averaged over sources in both ways."""

    pooled: Estimate
    weighted: Estimate
    plain: Estimate


@dataclass(frozen=True)
class Evaluation:
    """Scores, counted under the rule that was asked for; `f1` holds both rules."""

    tasks: tuple[Task, ...]
    """The tasks that the samples have labels of."""
    asked: tuple[Task, ...]
    """The tasks of the guard, whether or not a label of them is known."""
    overall: Scores
    by_modality: Mapping[Modality, Scores]
    by_source: Mapping[str, Scores]
    f1: Mapping[str, Mapping[str, Averages]]
    """By failure rule, then by task and their mean."""
    modality_intervals: Mapping[Modality, Intervals]
    source_intervals: Mapping[str, Intervals]
    failures: Mapping[FailureReason, int]
    """How many answers hold no verdict, or none on a measured task (`missing_label`), by reason."""
    n: int
    """Samples, whether or not a label of them is known."""
    not_well_formed: float
    """Share of answers that break the grammar anywhere or stopped at a limit."""
    mean_output_tokens: float
    """Of the answers that were given."""
    latency: Mapping[str, float] | None
    """Seconds of one request at the median (`p50`) and the 99th percentile (`p99`); None when no answer was timed."""
    mean_f1_interval: Interval | None
    """Bootstrap interval (95%) of `mean_f1`."""

    @property
    def mean_f1(self) -> float | None:
        """Mean over the tasks that can be measured."""
        return plain_mean([scores.f1 for scores in self.overall.values()])

    @property
    def parse_failure_rate(self) -> float:
        """Share of answers that leave a measured task without a verdict."""
        return sum(self.failures.values()) / self.n

    @property
    def unanswered(self) -> int:
        """Samples that were never asked about, or whose request was refused; they are among the failures."""
        return self.failures.get(FailureReason.UNANSWERED, 0)

    def average(self, task: Task) -> tuple[float | None, float | None]:
        """F1 averaged over sources: weighted by samples, and plain."""
        scores = [by_task[task] for by_task in self.by_source.values() if task in by_task]
        values = [score.f1 for score in scores]
        return weighted_mean(values, [score.n for score in scores]), plain_mean(values)

    def summary(self) -> dict[str, float | None]:
        """The numbers that programs compare, ratios as fractions; the guard's tasks are there even when unknown.

        `accuracy` is the mean over the tasks; `unanswered` is there if a sample was not asked about.
        """
        scores = {task: self.overall.get(task, Confusion()) for task in ordered((*self.asked, *self.tasks))}
        by_task = {f"{task}_f1": found.f1 for task, found in scores.items()}
        by_task |= {f"{task}_accuracy": found.accuracy for task, found in scores.items()}
        return by_task | {
            "mean_f1": self.mean_f1,
            "accuracy": plain_mean([found.accuracy for found in scores.values()]),
            "mean_output_tokens": self.mean_output_tokens,
            "parse_failure_rate": self.parse_failure_rate,
            "n": self.n,
            **({"unanswered": self.unanswered} if self.unanswered else {}),
        }


def evaluate(
    samples: Iterable[Sample],
    answers: Iterable[Answer],
    *,
    dialect: str,
    unparsable: str = "wrong",
    seed: int = 0,
) -> Evaluation:
    """Samples and greedy answers of a dialect to scores."""
    judged = judge(samples, answers, dialect)
    return score(judged, asked=dialects.get(dialect).tasks, unparsable=unparsable, seed=seed)


def score(
    judged: Sequence[Judged], *, asked: Iterable[Task] = (), unparsable: str = "wrong", seed: int = 0
) -> Evaluation:
    """Measure judged answers of a guard that was asked these tasks; `seed` fixes the resamples of the intervals."""
    failure_rule(unparsable)
    if not judged:
        raise DataError("there is no sample to measure; choose a split that holds some")
    table = Table(judged, seed)
    averages = {rule: _averages(table, rule) for rule in UNPARSABLE}
    failures = Counter(reason for item in judged if (reason := item.failure(table.tasks)) is not None)
    tokens = [item.answer.tokens for item in judged if not item.answer.failure]
    return Evaluation(
        tasks=table.tasks,
        asked=tuple(asked),
        overall=_scores(judged, table.tasks, unparsable),
        by_modality=_grouped(judged, table.tasks, unparsable, lambda item: item.sample.modality),
        by_source=_grouped(judged, table.tasks, unparsable, lambda item: item.sample.source),
        f1=averages,
        modality_intervals={m: _intervals(table, unparsable, modality=m) for m in table.modalities},
        source_intervals={s: _intervals(table, unparsable, source=s) for s in table.sources},
        failures=dict(failures.most_common()),
        n=len(judged),
        not_well_formed=sum(not item.well_formed for item in judged) / len(judged),
        mean_output_tokens=sum(tokens) / len(tokens) if tokens else 0.0,
        latency=_latency([item.answer.seconds for item in judged if item.answer.seconds is not None]),
        mean_f1_interval=averages[unparsable][MEAN].pooled.interval,
    )


def _averages(table: Table, rule: str) -> dict[str, Averages]:
    everything = table.part()
    values: dict[str, tuple[Values, ...]] = {
        task: (
            table.f1(task, rule, everything),
            table.f1_by_source(task, rule, weighted=True),
            table.f1_by_source(task, rule, weighted=False),
        )
        for task in table.tasks
    }
    if values:
        values[MEAN] = tuple(mean_of(column) for column in zip(*values.values(), strict=True))
    estimated = {name: Averages(*(table.bootstrap.estimate(value) for value in row)) for name, row in values.items()}
    return {MEAN: Averages(*[Estimate(None, None)] * 3)} | estimated


def _intervals(table: Table, rule: str, **part: Any) -> Intervals:
    chosen = table.part(**part)
    return {task: table.bootstrap.estimate(table.f1(task, rule, chosen)).interval for task in table.tasks}


def _scores(judged: Sequence[Judged], tasks: Sequence[Task], rule: str) -> Scores:
    cells = cells_of(judged, tasks, rule)
    return {task: counted(cells[:, column]) for column, task in enumerate(tasks)}


def _grouped(
    judged: Sequence[Judged], tasks: Sequence[Task], rule: str, key: Callable[[Judged], Any]
) -> dict[Any, Scores]:
    groups: dict[Any, list[Judged]] = {}
    for item in judged:
        groups.setdefault(key(item), []).append(item)
    return {name: _scores(groups[name], tasks, rule) for name in sorted(groups)}


def _latency(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    p50, p99 = np.quantile(seconds, [0.5, 0.99])
    return {"p50": float(p50), "p99": float(p99)}
