"""`gr-vl data list` and `gr-vl data count`: what can be read, how it must lie there, and what a folder holds."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.console import Console, JustifyMethod
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from gr_vl import display
from gr_vl.data import sources
from gr_vl.data.counts import Counts
from gr_vl.data.sources.base import Source
from gr_vl.errors import Broken
from gr_vl.schema import Sample

REASONS = 20
"""Kinds of refused rows that are shown, the most frequent first."""

Name = Annotated[str, typer.Argument(metavar="NAME", help="A source, as `gr-vl data list` names it.")]


def add_to(app: typer.Typer) -> None:
    """Add both commands to the group `gr-vl data`."""
    app.command("list", epilog="Examples: gr-vl data list\n\n    gr-vl data list wildguard_train")(show)
    app.command("count", epilog="Example: gr-vl data count wildguard_train ~/corpora/wildguardmix")(count)


def show(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One source: its files, counts, doubts.")] = None,
) -> None:
    """List the corpora and benchmarks that can be read, or say all about one."""
    console = display.console(180)
    if name is None:
        console.print(_overview([sources.get(known) for known in sources.names()]))
    else:
        console.print(_page(sources.get(name)))


def count(
    name: Name,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that holds the download.")],
) -> None:
    """Read a folder as a source and count its samples, beside the published counts, and the rows it cannot use."""
    source, counts, console = sources.get(name), Counts(), display.console(180)
    for item in _followed(source, folder, console):
        counts.add(item)
    console.print(_counted(source, counts))
    if counts.refused:
        console.print(_refused(counts))


def _followed(source: Source, folder: Path, console: Console) -> Iterator[Sample | Broken]:
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        total = source.published.get("rows")
        yield from bar.track(source.read(folder), total=total, description=source.name)


def _table(*columns: str, **options: JustifyMethod) -> Table:
    table = Table(*columns, box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column, side in options.items():
        table.columns[int(column.removeprefix("c"))].justify = side
    return table


def _overview(known: list[Source]) -> Table:
    table = _table("source", "use", "tasks", "modalities", "licence", "what to download")
    table.columns[-1].overflow = "fold"
    for source in known:
        use = "benchmark" if source.benchmark else "corpus"
        cells = (
            source.name,
            use,
            ", ".join(source.tasks),
            ", ".join(source.modalities),
            source.licence,
            source.url.removeprefix("https://"),
        )
        table.add_row(*map(Text, cells))
    return table


def _page(source: Source) -> Table:
    counts = ", ".join(f"{key} {value:,}" for key, value in source.published.items())
    table = Table.grid(padding=(0, 2))
    for key, value in {
        "source": source.name,
        "title": source.title,
        "use": "benchmark: training corpora are cleaned of its samples" if source.benchmark else "corpus",
        "tasks": ", ".join(source.tasks),
        "modalities": ", ".join(source.modalities),
        "licence": source.licence,
        "download": source.url,
        "files": source.layout,
        "rows": source.selects,
        "origins": ", ".join(source.origins) or source.name,
        "published": counts or "no counts",
        "not verified": source.unverified or "nothing: the real files were read, and gave the published counts",
    }.items():
        table.add_row(Text(key, style="bold"), Text(value))
    return table


def _counted(source: Source, counts: Counts) -> Table:
    table = _table(source.name, "found", "published", "difference", c1="right", c2="right", c3="right")
    for key, found, published in counts.beside(source.published):
        difference = "" if published is None else "equal" if found == published else f"{found - published:+,}"
        stated = "" if published is None else f"{published:,}"
        style = "" if difference in ("", "equal") else "yellow"
        table.add_row(Text(key), f"{found:,}", stated, Text(difference, style=style))
    return table


def _refused(counts: Counts) -> Table:
    table = _table("refused", "field", "reason", "fix", "first", c0="right")
    for kind, number in counts.refused.most_common(REASONS):
        field, reason, fix = kind
        first = counts.first[kind]
        table.add_row(f"{number:,}", *map(Text, (field, reason, fix, f"{first.file} row {first.row}: {first.value}")))
    if (more := len(counts.refused) - REASONS) > 0:
        table.add_row(f"{sum(counts.refused.values()):,}", "", Text(f"in all; {more} more reasons"), "", "")
    return table
