"""`gr-vl data build` and `gr-vl data validate`."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gr_vl import display
from gr_vl.compose import recipe_homes
from gr_vl.errors import ConfigError, DataError

if TYPE_CHECKING:
    from gr_vl.data.build.validate import Report
    from gr_vl.launch import State

SAY_EVERY = 8
SHOWN = 20
"""Findings on the screen; --findings writes all."""

Grammar = Annotated[str | None, typer.Option("--dialect", help="The grammar that reasoning is checked against.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes that examine rows.")]


def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.yaml", help="A mixture: a file, or a name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT_DIR", help="Where the splits and the reports go.")],
    folder: Annotated[Path | None, typer.Option(help="Where the downloads are; else the recipe says.")] = None,
    dialect: Grammar = None,
    workers: Workers = 2,
) -> None:
    """Mix sources into one clean corpus: checked, without duplicates or benchmarks, drawn, split. Resumable."""
    from gr_vl.data import sources
    from gr_vl.data.build import recipe as recipes
    from gr_vl.data.build import run

    mixture = recipes.load(_recipe(recipe), folder, dialect)
    console = display.console()
    display.follow("build", run.build(mixture, out, sources.get, processes=workers), console)
    console.print((out / "contamination.md").read_text())
    _show(json.loads((out / "manifest.json").read_text()), console)


def validate(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A corpus in our columns (parquet).")],
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="MODEL_DIR", help="Measure every row with this model's processor.")
    ] = None,
    findings: Annotated[Path | None, typer.Option(help="Write every finding there, one JSON object a line.")] = None,
    max_bad_share: Annotated[float, typer.Option(min=0.0, max=1.0, help="More of them exit with 2.")] = 0.05,
    dialect: Grammar = None,
    workers: Workers = 2,
) -> None:
    """Check every row of a corpus: row, field, reason, fix. With a tokenizer, also count its tokens, for all stages."""
    from gr_vl import dialects, limits, specs
    from gr_vl.data import io, quarantine
    from gr_vl.data.build import validate as validation

    spec = None if dialect else specs.above(path)
    grammar = dialect or (spec.dialect if spec else None)
    if grammar is not None:
        dialects.get(grammar)
    elif tokenizer is not None or io.has_reasoning(path):
        specs.needed(grammar, path)
    limits.finite({"--max-bad-share": max_bad_share})
    console, report = display.console(), validation.Report()
    steps = validation.validate(path, report, model=tokenizer, dialect=grammar, processes=workers)
    display.follow("validate", _states(steps, path), console)
    if grammar is not None:
        console.print(f"reasoning read as {grammar}")
    _show_findings(report, console)
    if findings is not None:
        quarantine.write(findings, (finding.record() for finding in report.findings))
    bad = len(report.findings)
    if bad > max_bad_share * report.rows:
        more = "" if findings is not None else " (--findings FILE lists all)"
        raise DataError(
            f"{path}: {bad:,} of {report.rows:,} rows cannot be used; mend them{more}, or raise --max-bad-share"
        )


def _recipe(given: Path) -> Path:
    homes = [home / "data" / f"{given}.yaml" for home in recipe_homes()]
    found = next((path for path in (given, *homes) if path.exists() and not path.is_dir()), None)
    if found is None:
        known = sorted({path.stem for home in recipe_homes() for path in (home / "data").glob("*.yaml")})
        raise ConfigError(f"{given}: no such recipe; give a YAML file, or one of: {', '.join(known)}")
    return found


def _states(steps: Iterator[int], path: Path) -> "Iterator[State]":
    from gr_vl.data import io
    from gr_vl.data.build.watch import Watch

    total, watch, done = io.count(path), Watch(), 0
    for number, done in enumerate(steps):
        if number % SAY_EVERY == 0:
            yield watch.state(done, total, "")
    yield watch.state(done, total, "")


def _show(manifest: dict[str, Any], console: Console) -> None:
    table = Table("source", "rows", "unusable", "duplicates", "in benchmarks", "not drawn", "kept")
    for name, row in manifest["sources"].items():
        bad = sum(row["quarantined"].values())
        if row.get("benchmark"):
            table.add_row(name, f"{row['rows']:,}", f"{bad:,}", "", "", "", "benchmark")
            continue
        removed = row["removed"]
        copies = removed.get("exact duplicate", 0) + removed.get("near duplicate", 0)
        cells = (row["rows"], bad, copies, removed.get("contaminated", 0), row["not drawn"], row["kept"])
        table.add_row(name, *(f"{number:,}" for number in cells))
    console.print(table)
    for name, split in manifest["splits"].items():
        parts = ", ".join(f"{modality} {number:,}" for modality, number in split["by_modality"].items())
        console.print(f"{name}: {split['rows']:,} rows ({parts})")
    for key, number in manifest["missing"].items():
        display.say(console, "warning", "yellow", f" {key}: {number:,} rows fewer than asked for")


def _show_findings(report: "Report", console: Console) -> None:
    if report.findings:
        table = Table("row", "field", "value", "reason", "fix")
        for found in report.findings[:SHOWN]:
            table.add_row(*map(Text, (str(found.row), found.field, found.value, found.reason, found.fix)))
        console.print(table)
    summary = Table("what", "rows", title=f"{report.rows:,} rows", title_justify="left")
    for name, number in sorted(report.by_modality.items()):
        summary.add_row(f"usable, {name}", f"{number:,}")
    for name, number in report.reasons.most_common():
        summary.add_row(Text(f"unusable, {name}"), f"{number:,}")
    summary.add_row("request and response of another row", f"{report.repeated:,}")
    console.print(summary)
    if report.tokens:
        longest = max(report.tokens, key=lambda tokens: tokens.prompt_tokens)
        whole = max((tokens.row_tokens or 0 for tokens in report.tokens), default=0)
        visual = max(tokens.visual_tokens for tokens in report.tokens)
        text = f"longest prompt {longest.prompt_tokens:,} tokens, with target {whole:,}; images at most {visual:,}"
        console.print(text)
