"""What a person sees while a stage runs: a bar on a terminal, a line now and then in a log file."""

import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from gr_vl.launch import State

LINE_EVERY = 15.0
"""Seconds between two lines where there is no terminal."""


def follow(name: str, states: Iterator[State], console: Console) -> None:
    """Show a stage's states until it ends."""
    began, last = time.monotonic(), State(0, None, "", 0.0)
    shown = _bar if console.is_terminal else _lines
    for state in shown(name, states, console):
        last = state
    seconds = time.monotonic() - began
    note = f"  {last.note}" if last.note and last.note != "starting" else ""
    console.print(f"[green]done[/]  {name:<8} {seconds:5.0f} s  peak {last.peak_rss_gb:4.1f} GB{note}", highlight=False)


def _bar(name: str, states: Iterator[State], console: Console) -> Iterator[State]:
    columns = (
        TextColumn("      {task.description:<8}"),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:.0f}/{task.fields[of]}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[note]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None, of="?", note="starting")
        for state in states:
            bar.update(task, completed=state.done, total=state.total, of=state.total or "?", note=state.note)
            yield state


def _lines(name: str, states: Iterator[State], console: Console) -> Iterator[State]:
    began, spoken = time.monotonic(), None
    for state in states:
        now = time.monotonic()
        if spoken is None:  # only now: a stage that is refused never started
            spoken = now
            console.print(f"start {name}", highlight=False)
        elif now - spoken >= LINE_EVERY:
            spoken = now
            console.print(_line(name, state, now - began), highlight=False)
        yield state


def _line(name: str, state: State, seconds: float) -> str:
    left = ""
    if state.done and state.total:
        left = f", about {seconds / state.done * (state.total - state.done):.0f} s left"
    return f"      {name:<8} {state.done}/{state.total or '?'}  {seconds:.0f} s{left}  {state.note}"
