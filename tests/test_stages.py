"""One registry of stages: what is derived from it, and what a run of anybody's recipe is expected to have."""

import json
import re
import shutil
from pathlib import Path

import pytest
from factories import facts_of, make_run, write_json

from gr_vl import cli, compose, launch, stages
from gr_vl.errors import ConfigError
from gr_vl.evaluation.details import details, pairs
from gr_vl.evaluation.report import write_report
from gr_vl.evaluation.run_folder import load

ROOT = Path(__file__).parent.parent
ENSEMBLE = "data subset sft sft_a sft_b sft_c mine mine_a mine_b mine_c pairs_ensemble dpo eval"


def described(recipe, run, *overrides):
    """The run.json that the first stage of a run writes."""
    run.mkdir(exist_ok=True)
    launch._describe(compose.stage(str(recipe), "data", [f"run={run}", *overrides]))
    return json.loads((run / "run.json").read_text())


def test_the_makefile_and_the_command_line_have_every_kind():
    listed = re.search(r"^STAGES := (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)[1].split()
    assert sorted(listed) == sorted(stages.kinds())
    commands = {command.name for command in cli.app.registered_commands}
    assert set(stages.kinds()) - commands == {"data"}  # a group, whose other commands are about corpora


@pytest.mark.parametrize(
    ("name", "override", "words"),
    [
        pytest.param("mine", "+gr_vl.mine.rul=x", ["gr_vl.mine.rul", "did you mean rule?"], id="an unknown key"),
        pytest.param("mine", "gr_vl.generation.samples=many", ["='many'", "Integer"], id="a word for a number"),
        pytest.param("eval", "+gr_vl.eval.threshold=1", ["gr_vl.eval.threshold", "models"], id="a key like no other"),
    ],
)
def test_a_setting_that_its_kind_does_not_know_is_refused_in_one_line(name, override, words):
    stage = compose.stage("guardreasoner_vl", name, ["model=3b", override])
    with pytest.raises(ConfigError) as caught:
        stages.read(stages.get(stage.kind).settings, stage.config)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_a_run_records_its_own_pipeline_and_models_in_the_order_in_which_they_are_made(tmp_path):
    found = described("guardreasoner_vl", tmp_path, "model=tiny")
    assert list(found["stages"].items())[-3:] == [("rl", "rl"), ("rl_eco", "rl"), ("eval", "eval")]
    assert list(found["models"]) == ["base", "sft", "rl", "rl_eco"]


def test_the_ensemble_expects_its_thirteen_stages(tmp_path):
    found = described("guardreasoner", tmp_path)
    assert list(found["stages"]) == ENSEMBLE.split()
    assert (found["stages"]["sft_a"], found["stages"]["pairs_ensemble"]) == ("sft", "pairs")
    folder = load(tmp_path)
    assert folder.notes[0] == f"Stages not run or not finished: {ENSEMBLE.replace(' ', ', ')}."
    assert folder.corpora["hard (mined), mine_b"] == ("mine_b", "hard")


def test_a_recipe_that_was_copied_and_renamed_has_a_report_of_its_own(tmp_path):
    recipe = shutil.copytree(ROOT / "recipes" / "guardreasoner_vl", tmp_path / "mine")
    common = recipe / "common.yaml"
    common.write_text(common.read_text().replace("recipe: guardreasoner_vl", "recipe: mine"))
    (recipe / "rl.yaml").rename(recipe / "online.yaml")
    (recipe / "rl").rename(recipe / "online")
    for path in (recipe / "online.yaml", recipe / "pipeline.yaml", recipe / "eval.yaml"):
        text = path.read_text().replace("- rl: 3b", "- online: 3b").replace("/rl/", "/online/")
        path.write_text(text.replace("rl: ${gr_vl.run}", "online: ${gr_vl.run}"))
    (recipe / "eval.yaml").write_text(
        (recipe / "eval.yaml").read_text().replace("      rl_eco: ${gr_vl.run}/rl_eco/model\n", "")
    )
    shutil.rmtree(recipe / "rl_eco")
    (recipe / "rl_eco.yaml").unlink()
    (recipe / "pipeline" / "tiny.yaml").write_text("# @package _global_\nstages: [data, base, sft, online, eval]\n")

    expected = described(recipe, tmp_path / "own", "model=tiny")
    assert expected["recipe"] == "mine"
    assert expected["stages"] == {"data": "data", "base": "base", "sft": "sft", "online": "rl", "eval": "eval"}
    assert expected["models"] == {"base": "base", "sft": "sft", "online": "online"}

    run = make_run(tmp_path / "run")
    write_json(run / "run.json", expected | facts_of("guardreasoner_vl"))
    for name in ("mine", "concat", "rl_eco", "eval/rl_eco"):
        shutil.rmtree(run / name)
    for name in ("rl", "eval/rl"):
        (run / name).rename((run / name).with_name("online"))
    write_json(run / "online" / "stage.json", {"stage": "online", "kind": "rl", "seconds": 1})
    page = write_report(load(run)).read_text(encoding="utf-8")
    assert "partial" not in page
    assert "<figcaption>Clip range</figcaption><svg" in page
    assert list(details(load(run))["paired"]) == [("online", "sft")]


def test_later_models_are_tested_against_earlier_ones():
    assert pairs(["sft", "rl", "rl_eco"]) == [("rl", "sft"), ("rl_eco", "rl"), ("rl_eco", "sft")]


def test_rl_is_tested_against_sft_and_not_the_other_way_round(tmp_path):
    paired = details(load(make_run(tmp_path / "run")))["paired"]
    assert list(paired) == [("rl", "sft"), ("rl_eco", "rl"), ("rl_eco", "sft")]
    judged = load(tmp_path / "run").judged["test"]
    won = sum(rl.right and not sft.right for rl, sft in zip(judged["rl"], judged["sft"], strict=True))
    assert won > 0
