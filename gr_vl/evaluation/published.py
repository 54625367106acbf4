"""The papers' evaluation: downloaded benchmarks become one corpus, and scores stand beside the published ones.

A benchmark is read whole: nothing is deduplicated or left out. A row that is no sample stops the reading, since a score
of the rest would be that of another benchmark.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gr_vl import dialects
from gr_vl.data import io, sources
from gr_vl.errors import Broken, ConfigError, DataError
from gr_vl.evaluation import benchmarks
from gr_vl.evaluation.benchmarks import Benchmark, Row
from gr_vl.evaluation.metrics import Evaluation
from gr_vl.evaluation.metrics.confusion import plain_mean, weighted_mean
from gr_vl.schema import Sample

Evaluations = Mapping[str, Mapping[str, Evaluation]]
"""By split and model."""


def check(names: Iterable[str], downloads: str | None, *, files: bool = True) -> None:
    """Raises ConfigError for a name that is no benchmark, for one named twice, and, with `files`, for a download that
    is not there."""
    known, seen = known_names(), list[str]()
    for name in names:
        if name not in known:
            raise ConfigError(f"gr_vl.eval.benchmarks: {name!r} is unknown; use some of: {', '.join(known)}")
        if name in seen:
            raise ConfigError(f"gr_vl.eval.benchmarks: {name} is named twice; name it once")
        seen.append(name)
    if not files:
        return
    if not downloads:
        raise ConfigError("gr_vl.eval.downloads=null must name the folder that holds the downloaded benchmarks")
    for name in seen:
        source = sources.get(name)
        try:
            next(iter(source.read(Path(downloads))), None)
        except DataError as error:
            raise ConfigError(
                f"gr_vl.eval.downloads={downloads}: {name} is missing or broken ({error}); "
                f"expected below it: {source.layout}, from {source.url}"
            ) from None


def known_names() -> list[str]:
    """The benchmarks of the registry that a source reads, in the papers' order."""
    readable = set(sources.names())
    return list(dict.fromkeys(item.name for item in benchmarks.registry() if item.name in readable))


def write(path: Path, names: Iterable[str], downloads: Path, dialect: str) -> int:
    """Write the benchmarks as one corpus of what a dialect asks, and return the number of its rows.

    A sample without a label of the dialect's tasks is of no row of its tables, and is not asked about. Raises
    DataError when a row is no sample.
    """
    return io.write(path, _questions(names, downloads, dialect), dialects.spec(dialect))


def _questions(names: Iterable[str], downloads: Path, dialect: str) -> Iterator[Sample]:
    asks = dialects.get(dialect)
    for name in names:
        for sample in sources.get(name).read(downloads):
            if isinstance(sample, Broken):
                raise DataError(
                    f"{downloads}/{sample.file} row {sample.row}: {sample.field} {sample.reason}; "
                    f"a benchmark is scored whole: fetch {name} again, or take it out of gr_vl.eval.benchmarks"
                )
            for question, tasks in asks.questions(sample):
                if labels := {task: label for task, label in question.labels.items() if task in tasks}:
                    yield replace(question, labels=labels)


def tables(evaluations: Evaluations) -> list[dict[str, Any]]:
    """For each source that is a known benchmark: every published row of it, the best first, and this run's models.

    Each has `benchmark`, its `metric` in words, `n` samples here, `own` (model: value and interval, as fractions) and
    `rows` (guard: value in percent, and paper).
    """
    return [
        {
            "benchmark": item,
            "metric": benchmarks.METRICS[item.metric],
            "n": n,
            "own": {model: _own(result, source, item) for model, result in models.items()},
            "rows": sorted(benchmarks.others(item).items(), key=lambda row: -row[1][0]),
        }
        for models in evaluations.values()
        for source, item, n in _found(models)
    ]


def _found(models: Mapping[str, Evaluation]) -> Iterator[tuple[str, Benchmark, int]]:
    """Source, benchmark and samples, in the papers' order."""
    by_source = next(iter(models.values())).by_source if models else {}
    found = [
        (source, item, scores.n)
        for source, by_task in by_source.items()
        for task, scores in by_task.items()
        if scores.n and (item := benchmarks.match(source, task))
    ]
    return iter(sorted(found, key=lambda row: benchmarks.registry().index(row[1])))


def _own(result: Evaluation, source: str, benchmark: Benchmark) -> tuple[float | None, Any]:
    task = benchmark.task
    if task not in result.by_source.get(source, {}):  # a guard that was never asked it
        return None, None
    interval = result.source_intervals[source][task] if benchmark.metric == "f1" else None
    return getattr(result.by_source[source][task], benchmark.metric), interval


def averages(evaluations: Evaluations) -> list[dict[str, Any]]:
    """Weighted and plain means over the benchmarks of each published table that are here, for every guard in it.

    Each has `paper`, `task`, `average` (the paper's name for it), `benchmarks`, and `own` and `rows`: by model or guard
    the mean by number of samples and the plain one, in percent. Published means are of the same benchmarks, weighted by
    the papers' sizes, and None where a cell of them is a dash; ours are weighted by the samples that are here.
    """
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    here = {(table["benchmark"].name, table["benchmark"].task): table for table in tables(evaluations)}
    for row in benchmarks.published():
        for average, span in row.spans.items():
            names = [name for name in list(row.f1)[:span] if (name, row.task) in here]
            if not names:
                continue
            entry = found.setdefault(
                (row.paper, row.task, average),
                {
                    "paper": row.paper,
                    "task": row.task,
                    "average": average,
                    "benchmarks": names,
                    "own": _own_means([here[name, row.task] for name in names]),
                    "rows": {},
                },
            )
            entry["rows"][row.guard] = _means(row, names)
    return list(found.values())


def _means(row: Row, names: list[str]) -> tuple[float | None, float | None]:
    cells = [row.f1[name] for name in names]
    if None in cells:
        return None, None
    return weighted_mean(cells, [benchmarks.find(name, row.task).n for name in names]), plain_mean(cells)


def _own_means(found: list[dict[str, Any]]) -> dict[str, tuple[float | None, float | None]]:
    """By model; None where a benchmark has no score, as a mean of the others would be that of another set."""
    means: dict[str, tuple[float | None, float | None]] = {}
    for model in found[0]["own"]:
        values = [table["own"].get(model, (None, None))[0] for table in found]
        if None in values:
            means[model] = None, None
        else:
            percents = [100 * value for value in values]
            means[model] = weighted_mean(percents, [table["n"] for table in found]), plain_mean(percents)
    return means


def gap(own: float | None, theirs: float | None) -> float | None:
    """Ours minus theirs, when both are known."""
    return None if own is None or theirs is None else own - theirs


def summary(evaluations: Evaluations) -> dict[str, Any]:
    """The same as plain values, in percent, for summary.json: `benchmarks` and `averages`, nothing without any."""
    listed = [_plain(table) for table in tables(evaluations)]
    return {"benchmarks": listed, "benchmark_averages": _plain_averages(evaluations)} if listed else {}


def _plain(table: dict[str, Any]) -> dict[str, Any]:
    item: Benchmark = table["benchmark"]
    own = {model: None if value is None else 100 * value for model, (value, _) in table["own"].items()}
    return {
        "benchmark": item.name,
        "task": str(item.task),
        "metric": item.metric,
        "n": table["n"],
        "published_n": item.n,
        "own": own,
        "published": [
            {"guard": guard, "paper": paper, "value": value, "gap": {name: gap(v, value) for name, v in own.items()}}
            for guard, (value, paper) in table["rows"]
        ],
    }


def _plain_averages(evaluations: Evaluations) -> list[dict[str, Any]]:
    def pair(means: tuple[float | None, float | None]) -> dict[str, float | None]:
        return dict(zip(("weighted", "plain"), means, strict=True))

    return [
        {**entry, "task": str(entry["task"])}
        | {"own": {model: pair(means) for model, means in entry["own"].items()}}
        | {"rows": {guard: pair(means) for guard, means in entry["rows"].items()}}
        for entry in averages(evaluations)
    ]
