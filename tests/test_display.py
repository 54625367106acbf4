"""What a person sees: lines in a log, a bar on a terminal, and always a last line with time and memory."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from gr_vl import display
from gr_vl.errors import ConfigError, StageError
from gr_vl.launch import State

STATES = [State(0, 8, "starting", 0.5), State(2, 8, "loss 1.25", 1.5), State(8, 8, "loss 0.5", 1.25)]


def shown(states, *, terminal=False):
    out = io.StringIO()
    display.follow("sft", iter(states), Console(file=out, force_terminal=terminal, width=100, _environ={}))
    return out.getvalue()


def test_a_log_gets_a_line_at_the_start_and_one_at_the_end():
    start, end = shown(STATES).splitlines()
    assert start == "start sft"
    assert end.split() == ["done", "sft", "0", "s", "peak", "1.2", "GB", "loss", "0.5"]


def test_a_stage_without_states_still_ends():
    assert shown([]).split() == ["done", "sft", "0", "s", "peak", "0.0", "GB"]


@pytest.mark.parametrize(
    ("state", "seconds", "words"),
    [
        pytest.param(State(2, 8, "loss 1.25", 1.0), 10.0, "sft 2/8 10 s, about 30 s left loss 1.25", id="half way"),
        pytest.param(State(0, 8, "starting", 1.0), 10.0, "sft 0/8 10 s starting", id="no step done, no guess"),
        pytest.param(State(3, None, "", 1.0), 10.0, "sft 3/? 10 s", id="an unknown total"),
        pytest.param(State(8, 8, "", 1.0), 10.0, "sft 8/8 10 s, about 0 s left", id="the last step"),
    ],
)
def test_a_line_tells_stage_step_and_time_left(state, seconds, words):
    assert display._line("sft", state, seconds).split() == words.split()


def test_lines_come_now_and_then_while_a_stage_runs(monkeypatch):
    states = [State(done, 8, "loss 1", 1.0) for done in range(1, 5)]
    assert len(shown(states).splitlines()) == 2
    monkeypatch.setattr(display, "LINE_EVERY", 0.0)
    lines = shown(states).splitlines()
    assert lines[0] == "start sft"
    assert [line.split()[1] for line in lines[1:-1]] == ["2/8", "3/8", "4/8"]
    assert all("s left" in line for line in lines[1:-1])


def test_a_terminal_gets_a_bar_with_step_note_and_time_left():
    text = shown(STATES, terminal=True)
    for word in ("sft", "/8", "left", "loss 0.5", "done"):
        assert word in text


def test_a_failure_passes_through_without_a_last_line():
    def failing():
        yield STATES[0]
        raise StageError("stage sft failed")

    out = io.StringIO()
    with pytest.raises(StageError, match="stage sft failed"):
        display.follow("sft", failing(), Console(file=out, force_terminal=False))
    assert out.getvalue() == "start sft\n"


def test_a_stage_that_is_refused_never_started():
    def refused():
        raise ConfigError("data.train_batch_size=33")
        yield

    out = io.StringIO()
    with pytest.raises(ConfigError):
        display.follow("sft", refused(), Console(file=out, force_terminal=False))
    assert out.getvalue() == ""


NAMES = ["demo [v1]", "m[/x]", "[red]x", ":fire:", "[link=a]b[/link]", "\\[a]", "x" * 300]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_printed_as_it_is(capsys, name):
    console = display.console()
    console.print(f"kept {name}")
    display.say(console, "done", "green", f" {name}")
    display.follow(name, iter([State(1, 2, name, 0.5)]), console)
    display.errors().print(f"error: {name}", style="red")
    captured = capsys.readouterr()
    kept, done, start, end = captured.out.splitlines()
    assert (kept, done, start) == (f"kept {name}", f"done {name}", f"start {name}")
    assert end.startswith(f"done  {name}")
    assert end.endswith(name)
    assert captured.err == f"error: {name}\n"


@pytest.mark.parametrize("name", NAMES[:-1])
def test_a_name_in_a_table_is_printed_as_it_is(capsys, name):
    table = Table(name, title=f"{name}!")
    table.add_row(f"cell {name}")
    display.console().print(table)
    title, _, head, _, cell, _ = capsys.readouterr().out.splitlines()
    assert f"{name}!" in title
    assert name in head
    assert f"cell {name}" in cell


def test_a_bar_shows_a_name_as_it_is():
    assert "m[/x]" in shown([State(1, 2, "m[/x]", 0.5)], terminal=True)
