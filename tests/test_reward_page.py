"""docs/reward.md, followed to the letter."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from test_rewards import ANSWERS, LENGTHS, build, readings
from typer.testing import CliRunner

from gr_vl import cli, compose
from gr_vl.schema import Label, Task
from rewards import SafetyReward, preset_names, terms

PAGE = (Path(__file__).parent.parent / "docs" / "reward.md").read_text()
KINDS = list(ANSWERS)[:4]


def block(language):
    """The page's only block of a language, and the file name above it."""
    (found,) = re.findall(rf"`([\w.]+)`:\n\n```{language}\n(.*?)```", PAGE, re.DOTALL)
    return found


def table():
    """The page's table of values, as it must be."""
    lines = ["| reward | answer | short | at the cut | long |", "| --- | --- | --- | --- | --- |"]
    for name in preset_names():
        columns = [build(name).score_group(readings(build(name), length)) for length in LENGTHS]
        for index, kind in enumerate(KINDS):
            totals = " | ".join(f"{column[index].total:.3g}" for column in columns)
            lines.append(f"| `{name}` | {kind} | {totals} |")
    return "\n".join(lines)


def test_the_table_of_values_is_what_the_rewards_give():
    assert table() in PAGE


@pytest.mark.parametrize("name", [*terms.names(), *preset_names()])
def test_every_term_and_every_preset_is_explained(name):
    assert f"`{name}`" in PAGE


@pytest.fixture
def followed(tmp_path, monkeypatch):
    """A folder in which a reader has done what the page says: one new file."""
    monkeypatch.chdir(tmp_path)
    name, code = block("python")
    (tmp_path / name).write_text(code)
    return tmp_path


OVER_FLAGGED = ANSWERS["right"].replace("Response: unharmful", "Response: harmful")
LABELS = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}


def test_a_term_of_ones_own_is_one_file_and_one_line(followed):
    _, lines = block("yaml")
    reward = SafetyReward.from_config(
        OmegaConf.to_container(OmegaConf.create(lines))["gr_vl"]["reward"], "guardreasoner_vl"
    )
    # Half right, less the page's price for one false alarm.
    assert reward(OVER_FLAGGED, LABELS, reasoning_tokens=9).terms == {"accuracy": 0.5, "over_flagging": -0.25}
    assert reward(ANSWERS["right"], LABELS, reasoning_tokens=9).total == 1


def test_the_pages_override_selects_it_in_a_recipe(followed):
    (override,) = re.findall(r"'(\+gr_vl\.reward\.terms\.over_flagging=.*?)'", PAGE)
    stage = compose.stage("guardreasoner_vl", "rl", ["model=tiny", override])
    reward = SafetyReward.from_config(compose.plain(stage.config.gr_vl)["reward"], "guardreasoner_vl")
    assert reward(OVER_FLAGGED, LABELS, reasoning_tokens=9).total == 0.25


def test_the_pages_commands_are_commands():
    commands = re.findall(r"^    gr-vl (reward \w+) ", PAGE, re.MULTILINE)
    assert set(commands) == {"reward explain", "reward replay"}
    for command in commands:
        assert CliRunner().invoke(cli.app, [*command.split(), "--help"]).exit_code == 0
