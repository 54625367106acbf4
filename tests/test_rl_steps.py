"""How many steps online RL has: those of the rows that fit, and whoever expected more is told so."""

from pathlib import Path

import pytest

from gr_vl import compose, inspection
from gr_vl.stages import rl
from gr_vl.stages.lengths import Kept


def config(*overrides):
    return compose.stage("guardreasoner_vl", "rl", ["model=3b", *overrides]).config


@pytest.mark.parametrize(
    ("left_out", "found", "warned"),
    [
        pytest.param(0, {"steps": 23}, False, id="all 12,000 rows fit"),
        pytest.param(224, {"steps": 23}, False, id="the rows of an incomplete batch are left out"),
        pytest.param(225, {"steps": 22, "steps_of_all_rows": 23}, True, id="one more"),
        pytest.param(1200, {"steps": 21, "steps_of_all_rows": 23}, True, id="a tenth"),
    ],
)
def test_rows_that_are_left_out_cost_steps_and_the_stage_says_so(capsys, left_out, found, warned):
    kept = Kept(Path("a.parquet"), 12_000 - left_out, {"too long": left_out} if left_out else {})
    assert rl.steps_of(config(), kept) == found
    said = capsys.readouterr().err
    assert ("warning: " in said, f"{found['steps']} steps and not 23" in said) == (warned, warned)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        pytest.param([], "23 of 12000 rows (fewer once more than 224 of them do not fit)", id="one epoch"),
        pytest.param(
            ["trainer.total_training_steps=10"],
            "10 of 12000 rows (fewer once more than 6880 of them do not fit)",
            id="a limit below what the rows hold",
        ),
        pytest.param(
            ["trainer.total_epochs=2"],
            "46 of 12000 rows (fewer once more than 224 of them do not fit)",
            id="two epochs",
        ),
    ],
)
def test_the_check_says_how_many_rows_may_be_left_out_before_a_step_is_lost(overrides, said):
    assert inspection._steps(config(*overrides), 12_000) == said
