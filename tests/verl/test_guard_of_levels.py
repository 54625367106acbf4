"""A guard that nobody ships, from its corpus to its report: every stage on real verl, with no line of it changed."""

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest
from factories import make_png, make_sample
from guards.levels import SEVERITY
from launching import MINE, RL, SFT, do, last_words

from gr_vl import dialects, specs
from gr_vl.data import io
from gr_vl.evaluation.report import write_report
from gr_vl.evaluation.run_folder import load
from gr_vl.stages.data import SPLITS

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]
TESTS = Path(__file__).parents[1]
NAME = "guards.levels"
LEVELS = SEVERITY.labels


def judged(number):
    """A sample whose level its prompt names; every other one has a picture."""
    level = LEVELS[number % len(LEVELS)]
    sample = make_sample(
        f"{number}",
        None,
        prompt=f"Tell me of the {level} thing, number {number}.",
        reasoning=f"I look.\nIt names the {level} thing.",
        images=(make_png(number),) * (number % 2),
    )
    return replace(sample, labels={SEVERITY: level})


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """Runs stages of the guard in one folder; returns it."""
    folder = tmp_path_factory.mktemp("levels")
    for split in SPLITS:
        io.write(folder / "in" / f"{split}.parquet", map(judged, range(32)), dialects.spec(NAME))
    path = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(TESTS), path]))
    run = folder / "run"

    def done(kind, *overrides):
        do(kind, run, f"gr_vl.dialect={NAME}", *overrides)
        return run

    yield done, folder
    os.environ["PYTHONPATH"] = path


def test_a_new_guard_runs_from_its_corpus_to_its_report(stage):
    do_stage, folder = stage
    do_stage("data", "gr_vl.data.source=parquet", f"gr_vl.data.folder={folder / 'in'}")
    do_stage("base")
    do_stage("sft", *SFT, "trainer.total_training_steps=2")
    run = do_stage("mine", *MINE)
    assert "wrong on severity" in (run / "mine" / "difficulty.md").read_text()
    do_stage("concat", "gr_vl.concat.share=0.4")
    joined = [sample for sample in io.read(run / "concat" / "train.parquet") if sample.source == "concat"]
    assert joined
    assert {task for sample in joined for task in sample.labels} == {SEVERITY}
    term = f"+gr_vl.reward.terms.why={{file: {TESTS / 'guards' / 'why.py'}, weight: 0.5}}"
    do_stage("rl", *RL, term, "trainer.total_training_steps=2")
    steps = last_words(run / "rl")
    assert list(steps) == [1, 2]
    assert all("reward/term/why" in numbers for numbers in steps.values())
    do_stage("eval", "gr_vl.generation.samples=8", "~gr_vl.eval.models.rl_eco", "~gr_vl.eval.models.base")
    scores = json.loads((run / "eval" / "stage.json").read_text())["counts"]["scores"]
    assert {model: (found["n"], "severity_f1" in found) for model, found in scores.items()} == {
        "sft": (8, True),
        "rl": (8, True),
    }
    page = write_report(load(run)).read_text(encoding="utf-8")
    assert all(f'<th scope="col">{level}</th>' in page for level in LEVELS)
    assert specs.above(run / "rl" / "rollouts" / "1.jsonl") == dialects.spec(NAME)
