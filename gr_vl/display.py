"""What a person sees: the console of every command, and a stage while it runs, as a bar or as lines of a log.

Names that people give (folders, models, runs) are printed as they are: nothing in them is markup, an emoji or a colour.
"""

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

if TYPE_CHECKING:
    from gr_vl.launch import State

LINE_EVERY = 15.0
"""Seconds between two lines where there is no terminal."""


def console(width: int = 140) -> Console:
    """Where a command prints. Without a terminal its lines are whole, and tables are `width` wide."""
    terminal = sys.stdout.isatty()
    return Console(
        width=None if terminal else width, soft_wrap=not terminal, markup=False, emoji=False, highlight=False
    )


def errors() -> Console:
    """Where a command's last line goes when it fails."""
    return Console(stderr=True, soft_wrap=True, markup=False, emoji=False, highlight=False)


def say(console: Console, word: str, style: str, rest: str) -> None:
    """Print a line that begins with a coloured word."""
    console.print(Text.assemble((word, style), rest))


def follow(name: str, states: "Iterator[State]", console: Console) -> None:
    """Show a stage's states until it ends."""
    began, last = time.monotonic(), None
    shown = _bar if console.is_terminal else _lines
    for state in shown(name, states, console):
        last = state
    seconds = time.monotonic() - began
    note = f"  {last.note}" if last and last.note and last.note != "starting" else ""
    peak = last.peak_rss_gb if last else 0.0
    say(console, "done", "green", f"  {name:<8} {seconds:5.0f} s  peak {peak:4.1f} GB{note}")


def _bar(name: str, states: "Iterator[State]", console: Console) -> "Iterator[State]":
    columns = (
        TextColumn("      {task.description:<8}", markup=False),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:.0f}/{task.fields[of]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None, of="?", note="starting")
        for state in states:
            bar.update(task, completed=state.done, total=state.total, of=state.total or "?", note=state.note)
            yield state


def _lines(name: str, states: "Iterator[State]", console: Console) -> "Iterator[State]":
    began, spoken = time.monotonic(), None
    for state in states:
        now = time.monotonic()
        if spoken is None:  # only now: a stage that is refused never started
            spoken = now
            say(console, "start", "", f" {name}")
        elif now - spoken >= LINE_EVERY:
            spoken = now
            console.print(Text(_line(name, state, now - began)))
        yield state


def _line(name: str, state: "State", seconds: float) -> str:
    left = ""
    if state.done and state.total:
        left = f", about {seconds / state.done * (state.total - state.done):.0f} s left"
    return f"      {name:<8} {state.done}/{state.total or '?'}  {seconds:.0f} s{left}  {state.note}"
