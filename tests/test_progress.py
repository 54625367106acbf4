"""The progress file: replaced as a whole, with the last word in it, and read by the process that watches a stage."""

import json
import os

from omegaconf import OmegaConf

from gr_vl import launch, progress
from gr_vl.compose import Stage


def test_the_last_report_stands_alone(tmp_path):
    folder = tmp_path / "runs" / "mine"
    progress.report(folder, 0, 12)
    assert json.loads((folder / progress.NAME).read_text()) == {"done": 0, "total": 12, "note": ""}
    progress.report(folder, 12, 12, "rl")
    assert json.loads((folder / progress.NAME).read_text()) == {"done": 12, "total": 12, "note": "rl"}
    assert [path.name for path in folder.iterdir()] == [progress.NAME]


def test_a_stage_is_as_far_as_its_newest_progress_file_says(tmp_path):
    stage = Stage("eval", OmegaConf.create({"gr_vl": {"run": str(tmp_path)}}))
    assert launch._progress(stage, {"steps": 8}) == (0, 8, "starting")
    for age, model, done in ((20, "rl", 3), (10, "sft", 12)):
        folder = tmp_path / "eval" / model
        progress.report(folder, done, 12, model)
        os.utime(folder / progress.NAME, (1_000_000 - age,) * 2)
    assert launch._progress(stage, {"steps": 8}) == (12, 12, "sft")
    # What a stage reports comes before the steps that it logs.
    (tmp_path / "eval" / "metrics-0.jsonl").write_text(json.dumps({"step": 2, "data": {"train/loss": 1.0}}) + "\n")
    progress.report(tmp_path / "eval" / "rl", 6, 12, "rl")
    assert launch._progress(stage, {"steps": 8}) == (6, 12, "rl")
