"""Several runs of one recipe, usually its seeds, side by side: what each model scored, and what RL and Eco changed."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from gr_vl.errors import DataError
from gr_vl.specs import read_object
from gr_vl.tasks import ordered

COLUMNS = {"mean_f1": "mean F1", "mean_output_tokens": "tokens", "parse_failure_rate": "unparsable"}
"""Titles of what follows the tasks."""
PAIRS = (("rl", "sft"), ("rl_eco", "rl"), ("dpo", "sft"))
"""What each model is measured against."""


def markdown(runs: Sequence[Path]) -> str:
    """A Markdown table of every model by seed, and one of the differences with mean and standard deviation.

    Raises DataError when a run has no summary.json or no evaluation.
    """
    summaries = [_summary(run) for run in runs]
    return f"{_scores(summaries)}\n\n{_differences(summaries)}\n"


def task_columns(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The F1 of each task that any summary names, with its title.

    >>> task_columns([{"response_f1": 0.5, "mean_f1": 0.5}, {"prompt_f1": None}])
    {'prompt_f1': 'prompt F1', 'response_f1': 'response F1'}
    """
    names = [key.removesuffix("_f1") for row in rows for key in row if key.endswith("_f1") and key != "mean_f1"]
    return {f"{name}_f1": f"{name} F1" for name in ordered(names)}


def _summary(run: Path) -> dict[str, Any]:
    path = run / "summary.json"
    if not path.is_file():
        raise DataError(f"{path}: no such file; finish the run, or write it with: gr-vl report {run}")
    summary = read_object(path)
    if not summary.get("eval"):
        raise DataError(f"{path}: holds no evaluation; run its eval stage first")
    return summary


def _scores(summaries: Sequence[dict[str, Any]]) -> str:
    rows = [(summary["seed"], name, row) for summary in summaries for name, row in summary["eval"].items()]
    columns = task_columns(row for _, _, row in rows) | COLUMNS
    lines = [
        f"| seed | model | {' | '.join(columns.values())} |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for seed, name, row in rows:
        lines.append(f"| {seed} | {name} | {' | '.join(_cell(column, row.get(column)) for column in columns)} |")
    return "\n".join(lines)


def _differences(summaries: Sequence[dict[str, Any]]) -> str:
    lines = ["| difference | by seed | mean ± sd |", "|---|---|---|"]
    for name, base in PAIRS:
        both = [s["eval"] for s in summaries if name in s["eval"] and base in s["eval"]]
        if not both:
            continue
        points = [100 * ((e[name]["mean_f1"] or 0) - (e[base]["mean_f1"] or 0)) for e in both]
        tokens = [100 * (e[name]["mean_output_tokens"] / e[base]["mean_output_tokens"] - 1) for e in both]
        for what, values, unit in (("mean F1, points", points, ""), ("output tokens", tokens, " %")):
            shown = ", ".join(f"{value:+.1f}{unit}" for value in values)
            spread = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
            lines.append(f"| {name} against {base}: {what} | {shown} | {mean(values):+.1f}{spread}{unit} |")
    return "\n".join(lines)


def _cell(column: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value if column == 'mean_output_tokens' else 100 * value:.1f}"
