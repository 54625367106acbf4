"""A grid of two clip schedules on real Ray workers: shared stages once, a kill, and what the losses saw."""

import json
import os
import subprocess
import sys

import pytest
from launching import RL, ended, kill_when
from omegaconf import OmegaConf

from gr_vl.checkpoints import MARK

pytestmark = [pytest.mark.verl, pytest.mark.timeout(1200)]
# Straight from the untrained model to RL: this is about the runner.
OVERRIDES = [
    "model=tiny",
    "data:gr_vl.data.train=96",
    "data:gr_vl.data.validation=16",
    "data:gr_vl.data.test=16",
    "concat:gr_vl.concat.corpus=${gr_vl.run}/data/train.parquet",
    "rl:gr_vl.start_model=${gr_vl.run}/base/model",
    *(f"rl:{item}" for item in RL),
    "rl:data.max_response_length=16",
    "rl:trainer.total_training_steps=2",
    "rl:trainer.save_freq=1",
    "eval:actor_rollout_ref.model.path=${gr_vl.run}/base/model",
    "eval:actor_rollout_ref.rollout.response_length=16",
    *(f"eval:~gr_vl.eval.models.{name}" for name in ("base", "sft", "rl_eco")),
]
GRID = {
    "recipe": "guardreasoner_vl",
    "stages": ["data", "base", "concat", "rl", "eval"],
    "seeds": [3],
    "reference": "linear",
    "overrides": OVERRIDES,
    "variants": {
        "linear": ["rl:gr_vl.clip.kind=linear", "rl:gr_vl.clip.final=0.1"],
        "clip_higher": ["rl:gr_vl.clip.kind=constant", "rl:gr_vl.clip.epsilon_high=0.28"],
    },
}


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "gr_vl.cli", "ablate", str(folder / "grid.yaml"), f"run={folder / 'out'}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        env=os.environ | {"NO_COLOR": "1"},
    )


def steps(folder, attempt):
    lines = (folder / "rl" / f"metrics-{attempt}.jsonl").read_text().splitlines()
    return {row["step"]: row["data"] for row in map(json.loads, lines)}


@pytest.fixture(scope="module")
def ablation(tmp_path_factory):
    """The grid, killed after the first step of its first RL and then resumed; the last run's words."""
    folder = tmp_path_factory.mktemp("ablation")
    OmegaConf.save(GRID, folder / "grid.yaml")
    first = folder / "out" / "linear_seed3" / "rl"
    kill_when(start(folder), (first / "checkpoints" / "global_step_1" / MARK).is_file)
    shared = {path: path.stat().st_mtime_ns for path in (folder / "out" / "shared_seed3").glob("*/stage.json")}
    assert {path.parent.name for path in shared} == {"data", "base", "concat"}
    process = start(folder)
    said = ended(process, 900)
    assert process.returncode == 0, said
    assert {path: path.stat().st_mtime_ns for path in shared} == shared
    return folder / "out", said


def test_a_killed_grid_goes_on_inside_the_stage_that_was_killed(ablation):
    out, said = ablation
    assert "cell 1 of 2  linear, seed 3: rl, eval to run" in said
    assert "cell 2 of 2  clip_higher, seed 3: rl, eval to run, about" in said
    assert sorted(steps(out / "linear_seed3", 0)) == [1]
    assert min(steps(out / "linear_seed3", 1)) == 2


def test_the_losses_of_each_cell_saw_the_range_of_its_variant(ablation):
    out, _ = ablation
    linear = steps(out / "linear_seed3", 0) | steps(out / "linear_seed3", 1)
    assert [linear[step]["actor/clip_range"] for step in (1, 2)] == pytest.approx([0.2, 0.1], abs=1e-9)
    higher = steps(out / "clip_higher_seed3", 0)
    for step in (1, 2):
        assert higher[step]["actor/clip_range"] == pytest.approx(0.2, abs=1e-9)
        assert higher[step]["actor/clip_range_high"] == pytest.approx(0.28, abs=1e-9)


def test_the_table_holds_both_variants(ablation):
    out, said = ablation
    found = json.loads((out / "ablation.json").read_text())
    assert found["missing"] == []
    assert found["variants"]["clip_higher"]["cells"]["3"]["n"] == 16
    assert found["variants"]["clip_higher"]["difference"]["mean_output_tokens"]["n"] == 1
    assert "# Ablation grid" in said
    assert (out / "ablation.png").is_file()


def test_a_finished_grid_is_kept(ablation):
    out, _ = ablation
    process = start(out.parent)
    said = ended(process, 120)
    assert process.returncode == 0
    assert said.count("done before") == 2
    assert "start" not in said.split()
