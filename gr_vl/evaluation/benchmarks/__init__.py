"""Benchmarks and the numbers that papers printed for them, as data: `registry.yaml` and `published/*.yaml`.

Published F1 stands in percent as printed. Papers average over benchmarks by size; `Row.recomputed` does the same from
the rounded cells, and `Row.room` is what rounding can explain, so that a printed average can be checked.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from omegaconf import OmegaConf

from gr_vl.errors import ConfigError
from gr_vl.evaluation.metrics.confusion import weighted_mean
from gr_vl.schema import Modality, Task
from gr_vl.tasks import shared

METRICS = {"f1": "F1", "false_positive_rate": "False alarms", "recall": "Recall"}
"""What benchmarks report first, by its name in `Confusion`, and how a person calls it."""


@dataclass(frozen=True)
class Benchmark:
    """One set of samples and one task on it."""

    name: str
    task: Task
    modality: Modality
    n: int
    """Samples, as the papers weight them."""
    metric: str
    """What is reported first, one of `METRICS`."""
    source: str
    positive: int | None = None
    """Samples of the positive class in the released file; None when nobody counted."""
    negative: int | None = None


@dataclass(frozen=True)
class Row:
    """One guard in one published table."""

    paper: str
    task: Task
    guard: str
    f1: Mapping[str, float | None]
    """F1 in percent by benchmark, in the paper's order; None where the paper has a dash."""
    averages: Mapping[str, float | None]
    """Averages as printed, by name."""
    spans: Mapping[str, int]
    """How many of the benchmarks, from the first, each average covers."""

    def recomputed(self, average: str) -> float | None:
        """The average of the printed cells, weighted by the sizes of the benchmarks."""
        names = list(self.f1)[: self.spans[average]]
        values = [self.f1[name] for name in names]
        return None if None in values else weighted_mean(values, [find(name, self.task).n for name in names])

    @property
    def room(self) -> float:
        """How far a printed average may lie from the recomputed one by rounding alone: half a unit of the cells' last
        digit (they have one decimal in rows that were copied from older papers) and half of the average's."""
        cells = [value for value in self.f1.values() if value]
        return (0.05 if all(round(value, 1) == value for value in cells) else 0.005) + 0.005


@cache
def registry() -> tuple[Benchmark, ...]:
    """Every benchmark, in the papers' order."""
    rows = _load(files(__name__) / "registry.yaml")
    return tuple(
        Benchmark(**{**row, "task": shared(row["task"]), "modality": Modality(row["modality"])}) for row in rows
    )


@cache
def published() -> tuple[Row, ...]:
    """Every row of every published table."""
    folder = files(__name__) / "published"
    paths = sorted((path for path in folder.iterdir() if path.name.endswith(".yaml")), key=lambda path: path.name)
    return tuple(row for path in paths for row in _rows(_load(path)))


@cache
def three_tasks() -> Mapping[str, float]:
    """GuardReasoner's mean over its three tasks by guard, in percent, as printed."""
    return dict(_load(files(__name__) / "three_tasks.yaml"))


def find(name: str, task: Task | None = None) -> Benchmark:
    """The benchmark of that name, by letters and digits alone; the task is needed where a name has several.

    Raises ConfigError naming the known ones.
    """
    found = [item for item in registry() if _plain(item.name) == _plain(name) and task in (None, item.task)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"benchmark {name}: it has {len(found)} tasks; say which: {', '.join(b.task for b in found)}")
    raise ConfigError(f"benchmark {name}: unknown; use one of: {', '.join(dict.fromkeys(b.name for b in registry()))}")


def match(source: str, task: Task) -> Benchmark | None:
    """The benchmark that a corpus's source is, or None."""
    return next((b for b in registry() if b.task == task and _plain(b.name) == _plain(source)), None)


def others(benchmark: Benchmark) -> dict[str, tuple[float, str]]:
    """Published F1 in percent on a benchmark and the paper, by guard; where papers repeat a guard, the first counts."""
    rows = [row for row in published() if row.task == benchmark.task and row.f1.get(benchmark.name) is not None]
    return {row.guard: (float(row.f1[benchmark.name] or 0), row.paper) for row in reversed(rows)}


def _rows(table: dict[str, Any]) -> list[Row]:
    names = table["benchmarks"]
    return [
        Row(
            table["paper"],
            shared(table["task"]),
            guard,
            dict(zip(names, row["f1"], strict=True)),
            {name: row[name] for name in table["averages"]},
            table["averages"],
        )
        for guard, row in table["rows"].items()
    ]


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _load(path: Any) -> Any:
    return OmegaConf.to_container(OmegaConf.create(path.read_text(encoding="utf-8")))
