"""How often the guard was wrong about each sample: kept, so that another curriculum can be cut without new answers.

`errors.parquet` has a row for each sample that was answered; `difficulty.md` and `difficulty.png` show them by source
and modality.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gr_vl.augment.mining import is_correct
from gr_vl.data.build.files import whole
from gr_vl.dialects import Dialect
from gr_vl.schema import Answer, Modality, ParseFailure, Sample, Verdict
from gr_vl.tasks import ordered

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("modality", pa.string()),
        ("answers", pa.int32()),
        ("n_wrong", pa.int32()),
        ("n_wrong_by_task", pa.map_(pa.string(), pa.int32())),
        ("n_unparsable", pa.int32()),
    ]
)


@dataclass(frozen=True)
class Errors:
    """What became of the k answers to one sample."""

    id: str
    source: str
    modality: str
    answers: int
    n_wrong: int
    """Answers with any wrong label, or without a verdict."""
    n_wrong_by_task: Mapping[str, int]
    """Of each task whose label is known. Answers without a verdict are wrong about every task."""
    n_unparsable: int

    @property
    def right(self) -> int:
        """Answers in which every known label is right."""
        return self.answers - self.n_wrong


def errors(sample: Sample, answers: Iterable[Answer], grammar: Dialect) -> Errors:
    """The errors of the answers to a sample."""
    outcomes, expected = [answer.read(grammar.parse) for answer in answers], grammar.expected(sample)
    return Errors(
        id=sample.id,
        source=sample.source,
        modality=sample.modality,
        answers=len(outcomes),
        n_wrong=_wrong(outcomes, expected),
        n_wrong_by_task={task: _wrong(outcomes, {task: label}) for task, label in expected.items()},
        n_unparsable=sum(isinstance(outcome, ParseFailure) for outcome in outcomes),
    )


def _wrong(outcomes: Sequence[Verdict | ParseFailure], expected: Any) -> int:
    return sum(not is_correct(outcome, expected) for outcome in outcomes)


def write(folder: Path, rows: Sequence[Errors]) -> None:
    """Write `errors.parquet`, `difficulty.md` and `difficulty.png`."""
    with whole(folder / "errors.parquet") as part:
        pq.write_table(pa.Table.from_pylist(list(map(asdict, rows)), schema=SCHEMA), part)
    (folder / "difficulty.md").write_text(table(rows), encoding="utf-8")
    _picture(rows, folder / "difficulty.png")


def histogram(rows: Sequence[Errors], k: int) -> dict[str, Any]:
    """How many samples have 0 to k right answers, in all, by modality and by source; keys are strings, as in JSON."""

    def by(name: Callable[[Errors], str], order: Iterable[str]) -> dict[str, dict[str, int]]:
        tally = Counter((name(row), row.right) for row in rows)
        return {part: {str(right): tally[part, right] for right in range(k + 1)} for part in order}

    modalities = [modality for modality in Modality if any(row.modality == modality for row in rows)]
    return {
        "k": k,
        "histogram": by(lambda row: "", [""])[""],
        "by_modality": by(lambda row: row.modality, map(str, modalities)),
        "by_source": by(lambda row: row.source, sorted({row.source for row in rows})),
    }


def table(rows: Sequence[Errors]) -> str:
    """Markdown: for each source and modality the number of samples, and the share that is easy, mixed, hard."""
    groups: dict[tuple[str, str], list[Errors]] = defaultdict(list)
    for row in rows:
        groups[row.source, row.modality].append(row)
    tasks = ordered(task for row in rows for task in row.n_wrong_by_task)
    lines = [
        "| source | modality | samples | all right | mixed | all wrong "
        f"| {' | '.join(f'wrong on {task}' for task in tasks)} | unparsable |",
        f"| --- | --- |{' --: |' * (len(tasks) + 5)}",
    ]
    for (source, modality), members in [*sorted(groups.items()), (("all", ""), list(rows))]:
        easy, hard = (sum(test(row) for row in members) / len(members) for test in (_easy, _hard))
        parts = [f"{share:.0%}" for share in (easy, 1 - easy - hard, hard)]
        parts += [_rate(members, partial(_wrong_on, task)) for task in tasks]
        parts.append(_rate(members, lambda row: row.n_unparsable))
        lines.append(f"| {source} | {modality} | {len(members):,} | {' | '.join(parts)} |")
    return "\n".join(lines) + "\n"


def _easy(row: Errors) -> bool:
    return row.n_wrong == 0


def _hard(row: Errors) -> bool:
    return row.n_wrong == row.answers


def _wrong_on(task: str, row: Errors) -> int | None:
    return row.n_wrong_by_task.get(task)


def _rate(rows: Sequence[Errors], count: Callable[[Errors], int | None]) -> str:
    """The share of answers that are counted, among the rows where the count is known."""
    known = [(number, row.answers) for row in rows if (number := count(row)) is not None]
    return f"{sum(wrong for wrong, _ in known) / sum(answers for _, answers in known):.0%}" if known else "-"


def _picture(rows: Sequence[Errors], path: Path) -> None:
    """Samples by number of right answers, a panel for each source, modalities stacked."""
    from matplotlib.figure import Figure

    k, sources = max(row.answers for row in rows), sorted({row.source for row in rows})
    figure = Figure(figsize=(3.2 * len(sources), 2.6), layout="constrained")
    panels = figure.subplots(1, len(sources), squeeze=False)[0]
    for panel, source in zip(panels, sources, strict=True):
        bottom = [0] * (k + 1)
        for modality, colour in zip(Modality, ("#0072b2", "#d55e00", "#009e73"), strict=True):
            tally = Counter(row.right for row in rows if row.source == source and row.modality == modality)
            heights = [tally[right] for right in range(k + 1)]
            panel.bar(range(k + 1), heights, bottom=bottom, color=colour, label=modality.replace("_", "-"))
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        panel.set(title=source, xlabel=f"right answers of {k}", xticks=range(k + 1))
    panels[0].set_ylabel("samples")
    panels[-1].legend(fontsize=7)
    figure.savefig(path, dpi=120, metadata={"Software": None})
