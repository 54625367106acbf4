"""An evaluation on a terminal: both failure rules, both averages, intervals, and the published rows beside it."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from gr_vl import display
from gr_vl.evaluation import benchmarks
from gr_vl.evaluation.metrics import UNPARSABLE, Estimate, Evaluation, Judged, score
from gr_vl.schema import Task

RULES = {"wrong": "unparsable is wrong", "drop": "unparsable is left out"}


def facts(judged: Sequence[Judged]) -> dict[str, Any]:
    """The numbers of both rules as plain values, F1 and ratios as fractions."""
    results = {rule: score(judged, unparsable=rule) for rule in UNPARSABLE}
    first = results["wrong"]
    tasks = {
        task: {rule: _row(result, rule, task) for rule, result in results.items()}
        | {"published": _published(first, task)}
        for task in first.tasks
    }
    return {
        "n": first.n,
        "tasks": tasks,
        "parse_failure_rate": first.parse_failure_rate,
        "parse_failures": dict(first.failures),
        "unanswered": first.unanswered,
        "mean_output_tokens": first.mean_output_tokens or None,
        "latency": first.latency,
    }


def show(name: str, found: dict[str, Any], console: Console) -> None:
    """Print what `facts` returned."""
    reasons = ", ".join(f"{reason} {count}" for reason, count in found["parse_failures"].items())
    line = f"  {found['n']} samples, unparsable {100 * found['parse_failure_rate']:.2f}%"
    display.say(console, name, "bold", line + (f" ({reasons})" if reasons else ""))
    if refused := found.get("refused", {}).get("calls"):
        line = f"{refused} calls were refused, and their samples are unanswered; the first: {found['refused']['first']}"
        console.print(f"{line}; run the same command again to ask again")
    if missing := found.get("missing"):
        line = f" {missing} samples of the benchmark are not in the file: they have no part in any score"
        display.say(console, "warning", "yellow", line)
    if found["mean_output_tokens"]:
        console.print(f"output tokens {found['mean_output_tokens']:.1f}")
    if found["latency"]:
        p50, p99 = (found["latency"][key] for key in ("p50", "p99"))
        console.print(f"seconds an answer: median {p50:.2f}, 99th percentile {p99:.2f}")
    console.print(_scores(found["tasks"]))
    for task, rows in found["tasks"].items():
        for benchmark, published in rows["published"].items():
            console.print(_beside(task, benchmark, published))


def _row(result: Evaluation, rule: str, task: Task) -> dict[str, Any]:
    counts, averages = result.overall[task], result.f1[rule][task]
    return {
        "f1": averages.pooled._asdict(),
        "weighted": averages.weighted._asdict(),
        "plain": averages.plain._asdict(),
        "precision": counts.precision,
        "recall": counts.recall,
        "false_positive_rate": counts.false_positive_rate,
        "n": counts.n,
    }


def _published(result: Evaluation, task: Task) -> dict[str, Any]:
    found = {source: benchmarks.match(source, task) for source in result.by_source}
    return {
        item.name: {
            "metric": item.metric,
            "own": getattr(result.by_source[source][task], item.metric),
            "rows": benchmarks.others(item),
        }
        for source, item in found.items()
        if item is not None
    }


def _scores(tasks: dict[Task, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    for column in ("task", "failure rule", "n"):
        table.add_column(column)
    for column in ("F1", "weighted over sources", "plain", "precision", "recall", "FPR"):
        table.add_column(column, justify="right", no_wrap=True)
    for task, rows in tasks.items():
        for rule, words in RULES.items():
            row = rows[rule]
            averages = [_interval(Estimate(**row[key])) for key in ("f1", "weighted", "plain")]
            ratios = [percent(row[key]) for key in ("precision", "recall", "false_positive_rate")]
            table.add_row(task, words, str(row["n"]), *averages, *ratios)
    return table


def _beside(task: Task, benchmark: str, published: dict[str, Any]) -> Table:
    own = published["own"]
    table = Table(box=None, pad_edge=False, header_style="dim", title=f"{benchmark}, {task}", title_justify="left")
    table.add_column("guard")
    for column in (benchmarks.METRICS[published["metric"]], "this - published"):
        table.add_column(column, justify="right")
    table.add_column("paper", style="dim")
    table.add_row("this", percent(own), "", "")
    for guard, (f1, paper) in sorted(published["rows"].items(), key=lambda item: -item[1][0]):
        table.add_row(guard, f"{f1:.2f}", "-" if own is None else f"{100 * own - f1:+.2f}", paper)
    return table


def percent(value: float | None) -> str:
    """A fraction in percent with two decimals."""
    return "-" if value is None else f"{100 * value:.2f}"


def _interval(estimate: Estimate) -> str:
    if estimate.interval is None:
        return percent(estimate.value)
    low, high = estimate.interval
    return f"{percent(estimate.value)} ({100 * low:.1f} to {100 * high:.1f})"
