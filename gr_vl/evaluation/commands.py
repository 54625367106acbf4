"""`gr-vl eval` and `gr-vl benchmarks`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gr_vl import display, extras
from gr_vl.errors import ConfigError
from gr_vl.schema import Task
from gr_vl.tasks import shared

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
        task: Annotated[str | None, typer.Option(help="What the labels of --predictions are about.")] = None,
        benchmark: Annotated[str | None, typer.Option(help="Which benchmark --predictions answers.")] = None,
        adapter: Annotated[
            str | None, typer.Option(help="The guard's family: llama_guard, qwen3guard, ..., or a dialect.")
        ] = None,
        endpoint: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint; with --model ...")] = None,
        model: Annotated[str | None, typer.Option(help="The guard, as the endpoint calls it.")] = None,
        corpus: Annotated[Path | None, typer.Option(help="Samples with labels, as parquet.")] = None,
        out: Annotated[Path | None, typer.Option(help="Folder of the answers; run again to go on.")] = None,
        max_tokens: Annotated[int, typer.Option(help="Tokens of a reply at most.")] = 4096,
        concurrency: Annotated[int, typer.Option(help="Samples in flight at most.")] = 8,
        timeout: Annotated[float, typer.Option(help="Seconds to wait for a reply.")] = 300.0,
        api_key_env: Annotated[str, typer.Option(help="Environment variable of the key.")] = "OPENAI_API_KEY",
        as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    ) -> None:
        """Score a recipe's models, answers that were released, or any guard behind an endpoint."""
        if sum(way is not None for way in (recipe, predictions, endpoint)) != 1:
            raise ConfigError("gr-vl eval: give a RECIPE, --predictions FILE or --endpoint URL, one of them")
        if recipe is not None:
            run_stage(recipe, "eval", overrides or [])
        if predictions is not None:
            _predictions(predictions, adapter or "guardreasoner", _task(task), benchmark, as_json)
        if endpoint is not None:
            limits = {"max_tokens": max_tokens, "concurrency": concurrency, "timeout": timeout}
            _endpoint(endpoint, model, adapter, corpus, out, limits | {"api_key_env": api_key_env}, as_json)

    app.command("benchmarks", epilog="Example: gr-vl benchmarks ToxicChat")(_benchmarks)


def _task(name: str | None) -> Task | None:
    return None if name is None else shared(name)


def _predictions(path: Path, adapter: str, task: Task | None, benchmark: str | None, as_json: bool) -> None:
    from gr_vl.evaluation import benchmarks, predictions, scoreboard

    known = None if benchmark is None else benchmarks.find(benchmark, task)
    judged = predictions.read(path, adapter, known.task if known else task, known.name if known else None)
    found = scoreboard.facts(judged)
    if known is not None and len(judged) < known.n:
        # Their labels are not in the file: no rule can count them.
        found["missing"] = known.n - len(judged)
    _tell(path.name, found, as_json)


def _endpoint(
    url: str,
    model: str | None,
    adapter: str | None,
    corpus: Path | None,
    out: Path | None,
    limits: dict[str, Any],
    as_json: bool,
) -> None:
    if model is None or adapter is None or corpus is None or out is None:
        raise ConfigError("--endpoint: needs --model NAME, --adapter NAME, --corpus FILE.parquet and --out DIR")
    extras.need("--endpoint", "openai", "httpx2", "tenacity", extra="data")
    from gr_vl.evaluation import peers, scoreboard
    from gr_vl.evaluation.endpoint import Endpoint, run

    found = scoreboard.facts(run(Endpoint(url, model, adapter, str(corpus), **limits), out))
    refused = peers.refused(out)
    found["refused"] = {"calls": len(refused), "first": refused[0]["why"] if refused else None}
    (out / "summary.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _tell(f"{model} ({adapter})", found, as_json)


def _tell(name: str, found: dict[str, Any], as_json: bool) -> None:
    from gr_vl.evaluation import scoreboard

    if as_json:
        typer.echo(json.dumps(found, indent=2))
    else:
        scoreboard.show(name, found, display.console(160))


def _benchmarks(
    name: Annotated[str | None, typer.Argument(help="One of them: its published rows.")] = None,
    task: Annotated[str | None, typer.Option(help="Which task of it.")] = None,
) -> None:
    """The benchmarks that papers report on, and what they reported; nothing is downloaded."""
    from gr_vl.evaluation import benchmarks

    table = Table(box=None, pad_edge=False, header_style="dim")
    if name is not None:
        item = benchmarks.find(name, _task(task))
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
    display.console(160).print(table)
