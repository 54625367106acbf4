"""`gr-vl eval` and `gr-vl benchmarks`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from gr_vl.errors import ConfigError
from gr_vl.schema import Task

RunStage = Callable[[str, str, list[str]], None]
"""Runs one stage of a recipe: recipe, kind, overrides."""


def register(app: typer.Typer, run_stage: RunStage) -> None:
    """Add the commands to the command line."""

    @app.command(
        "eval",
        epilog="""Examples: gr-vl eval guardreasoner_vl model=tiny run=runs/mine

    gr-vl eval --predictions answers.jsonl --benchmark XSTestResponseHarmful

    gr-vl eval --endpoint http://localhost:8000/v1 --model NAME --adapter qwen3guard --corpus test.parquet --out DIR""",
    )
    def evaluate(
        recipe: Annotated[str | None, typer.Argument(help="A folder below recipes/, by name or by path.")] = None,
        overrides: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="For a recipe.")] = None,
        predictions: Annotated[Path | None, typer.Option(help="Released answers: JSON lines, no model runs.")] = None,
        task: Annotated[Task | None, typer.Option(help="What the labels of --predictions are about.")] = None,
        benchmark: Annotated[str | None, typer.Option(help="Which benchmark --predictions answers.")] = None,
        adapter: Annotated[str | None, typer.Option(help="How the answers are read: see gr-vl benchmarks.")] = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Score a recipe's models, answers that were released, or any guard behind an endpoint."""
        if sum(way is not None for way in (recipe, predictions)) != 1:
            raise ConfigError("gr-vl eval: give a RECIPE or --predictions FILE, one of them")
        if recipe is not None:
            run_stage(recipe, "eval", overrides or [])
        if predictions is not None:
            _predictions(predictions, adapter or "guardreasoner", task, benchmark, as_json)

    app.command("benchmarks", epilog="Example: gr-vl benchmarks ToxicChat")(_benchmarks)


def _predictions(path: Path, adapter: str, task: Task | None, benchmark: str | None, as_json: bool) -> None:
    from gr_vl.evaluation import benchmarks, predictions, scoreboard

    known = None if benchmark is None else benchmarks.find(benchmark, task)
    judged = predictions.read(path, adapter, known.task if known else task, known.name if known else None)
    found = scoreboard.facts(judged)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        scoreboard.show(path.name, found, _console())


def _benchmarks(
    name: Annotated[str | None, typer.Argument(help="One of them: its published rows.")] = None,
    task: Annotated[Task | None, typer.Option(help="Which task of it.")] = None,
) -> None:
    """The benchmarks that papers report on, and what they reported; nothing is downloaded."""
    from gr_vl.evaluation import benchmarks

    table = Table(box=None, pad_edge=False, header_style="dim")
    if name is not None:
        item = benchmarks.find(name, task)
        for column in ("guard", "F1", "paper"):
            table.add_column(column, justify="right" if column == "F1" else "left")
        for guard, (f1, paper) in sorted(benchmarks.others(item).items(), key=lambda row: -row[1][0]):
            table.add_row(guard, f"{f1:.2f}", paper)
    else:
        for column in ("benchmark", "task", "modality", "n", "positive", "negative", "metric", "source"):
            table.add_column(column, justify="right" if column in ("n", "positive", "negative") else "left")
        for item in benchmarks.registry():
            counts = ["-" if count is None else f"{count:,}" for count in (item.positive, item.negative)]
            table.add_row(item.name, item.task, item.modality, f"{item.n:,}", *counts, item.metric, item.source)
    _console().print(table)


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 160)
