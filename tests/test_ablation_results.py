"""The table of a grid against numbers worked out by hand, also while cells are missing."""

import dataclasses
import io
import json
import sys

import pytest
from ablations import finish, write_grid
from factories import facts_of, make_answer, make_sample, make_text, write_json
from rich.console import Console

from gr_vl import cli
from gr_vl.ablation import grid, results, runner, table
from gr_vl.ablation.plan import plan
from gr_vl.data import io as corpora
from gr_vl.errors import DataError
from gr_vl.evaluation.answers import write_answers
from gr_vl.schema import Label

pytestmark = pytest.mark.slow

H, U = Label.HARMFUL, Label.UNHARMFUL
TRUTH = [H, H, U, U]
# F1 of each: 1, 2 x 1 / (2 x 1 + 1) = 2/3, 2 x 2 / (2 x 2 + 1) = 0.8.
RIGHT, MISSED, FLAGGED = [H, H, U, U], [H, U, U, U], [H, H, H, U]
SAID = {"full": {1: RIGHT, 2: RIGHT, 3: RIGHT}, "alone": {1: MISSED, 2: RIGHT, 3: FLAGGED}}


def judge(cell, said, tokens):
    sources = ("known", "known", "new", "new")
    truth = enumerate(zip(TRUTH, sources, strict=True))
    samples = [make_sample(str(index), label, source=source) for index, (label, source) in truth]
    folder = cell.folder / "eval"
    corpora.write(folder / "test.parquet", samples)
    write_answers(
        folder / "rl" / "test.jsonl",
        [make_answer(str(index), make_text(label), tokens) for index, label in enumerate(said)],
    )


@pytest.fixture
def filled(tmp_path):
    """A grid of three seeds whose stages are all done, with the guards' answers above; 10 tokens each, or 8."""

    def fill(seeds, skipped=(), **changes):
        made = grid.load(str(write_grid(tmp_path, seeds=seeds, **changes)))
        cells = plan(made, tmp_path / "out")
        for cell in cells:
            for stage in cell.stages:
                finish(stage)
                write_json(stage.run / "run.json", {"seed": cell.seed} | facts_of("guardreasoner_vl"))
        for cell in cells:
            if cell.name not in skipped:
                runner.run_cell(cell, Console(file=io.StringIO()))
                judge(cell, SAID[cell.variant][cell.seed], 10 if cell.variant == "full" else 8)
        return made, cells, tmp_path / "out"

    return fill


def test_spread_and_paired_differences_over_three_seeds(filled):
    made, cells, root = filled([1, 2, 3])
    results.write(made, cells, root)
    found = json.loads((root / "ablation.json").read_text())
    alone = found["variants"]["alone"]
    assert (found["split"], found["samples"], found["missing"]) == ("test", [4], [])
    assert alone["cells"]["3"]["mean_f1"] == 0.8
    # Mean of 2/3, 1 and 0.8; squares of the deviations: 0.0242, 0.0316, 0.0005.
    assert alone["spread"]["mean_f1"] == pytest.approx({"mean": 0.82222, "sd": 0.16777, "n": 3}, abs=1e-4)
    # Differences -1/3, 0, -0.2: 4.3027 standard errors of 0.16777 / sqrt(3) around -0.17778.
    expected = {"mean": -0.17778, "low": -0.59456, "high": 0.23900, "n": 3}
    assert alone["difference"]["mean_f1"] == pytest.approx(expected, abs=1e-4)
    assert alone["difference"]["mean_output_tokens"] == {"mean": -2.0, "low": -2.0, "high": -2.0, "n": 3}
    # No sample has a response.
    assert alone["spread"]["response_f1"] is None
    assert alone["difference"]["response_f1"] is None
    assert "difference" not in found["variants"]["full"]


def test_samples_of_a_seed_are_resampled_in_pairs(filled):
    made, cells, _ = filled([1, 2, 3])
    bootstrap = results.collect(made, cells)["variants"]["alone"]["bootstrap_mean_f1"]
    low, high = bootstrap["1"]
    assert -1 <= low < -1 / 3 < high <= 0
    assert bootstrap["2"] == (0.0, 0.0)


def test_the_table_says_what_was_measured_and_on_what(filled):
    made, cells, root = filled([1, 2, 3])
    text = results.write(made, cells, root).read_text()
    assert "seeds 1, 2, 3, split test with n = 4 samples a seed" in text
    assert "Not finished" not in text
    assert "| full | 100.0 ± 0.0 | 100.0 ± 0.0 | - | 100.0 ± 0.0 | 10.0 ± 0.0 | 0.0 ± 0.0 |" in text
    assert "| alone | 82.2 ± 16.8 | 82.2 ± 16.8 | - | 83.3 ± 14.4 | 8.0 ± 0.0 | 0.0 ± 0.0 |" in text
    assert "| alone | -17.8 [-59.5, +23.9] | -17.8 [-59.5, +23.9] | - |" in text
    assert "| -16.7 [-52.5, +19.2] | -2.0 [-2.0, -2.0] |" in text
    assert "| alone | -33.3 [" in text
    assert "- full: nothing\n- alone: `concat:gr_vl.concat.share=0.0`" in text
    assert "Over 3 they are wide" in text
    assert (root / "ablation.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_shows_the_plan_and_then_the_table(filled, monkeypatch, capsys):
    _, _, root = filled([1, 2, 3], skipped=("alone_seed3",))

    def said(*arguments):
        monkeypatch.setattr(sys, "argv", ["gr-vl", "ablate", str(root.parent / "grid.yaml"), f"run={root}", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert not left.value.code
        return capsys.readouterr().out

    assert "6 cells, 15 stages in all" in said("--plan")
    assert not (root / "ablation.md").exists()
    # The last cell's stages are done, but nobody has answered there.
    judge(next(cell for cell in filled([1, 2, 3])[1] if cell.name == "alone_seed3"), FLAGGED, 8)
    out = said()
    assert "cell 6 of 6  alone, seed 3: done before" in out
    assert "| alone | 82.2 ± 16.8 |" in out
    assert out.splitlines()[-1].startswith("done  ablate")


def test_one_seed_has_no_interval_over_seeds(filled):
    made, cells, root = filled([1])
    text = results.write(made, cells, root).read_text()
    assert "| alone | -33.3 [n/a] |" in text
    assert "| alone | 66.7 | 66.7 | - | 75.0 | 8.0 | 0.0 |" in text


def test_samples_of_other_sources_do_not_count(filled):
    made, cells, root = filled([1, 3], sources=["known"])
    text = results.write(made, cells, root).read_text()
    assert "with n = 2 samples a seed" in text
    assert "Only samples from known." in text
    # Of the two harmful ones seed 1 misses one, 2 x 1 / (2 x 1 + 1); what seed 3 flags is from elsewhere.
    assert "| alone | 83.3 ± 23.6 |" in text
    strange = dataclasses.replace(made, sources=("known ",))
    with pytest.raises(DataError, match=r"sources=\['known '\]: no sample of .*'s test"):
        results.collect(strange, cells)


def test_a_third_task_has_a_column_of_its_own():
    spread = {"mean_f1": {"mean": 0.5, "sd": None, "n": 1}, "refusal_f1": {"mean": 0.75, "sd": None, "n": 1}}
    found = {"name": "g", "recipe": "r", "model": "dpo", "samples": [4], "seeds": [1], "split": "test"}
    found |= {"sources": [], "missing": [], "overrides": [], "reference": "full"}
    text = table.markdown(found | {"variants": {"full": {"overrides": [], "spread": spread, "cells": {}}}})
    assert (
        "| variant, mean ± sd over seeds | mean F1 | refusal F1 |\n| --- | --- | --- |\n| full | 50.0 | 75.0 |" in text
    )


def test_missing_cells_are_named_and_pairs_are_of_what_is_there(filled):
    made, cells, root = filled([1, 2], skipped=("full_seed2",))
    text = results.write(made, cells, root).read_text()
    assert "**Not finished:** full_seed2." in text
    assert "| alone | -33.3 [n/a] |" in text
    assert "| alone | 83.3 ± 23.6 |" in text


def test_nothing_yet_is_a_table_too(filled):
    made, cells, root = filled([1], skipped=("full_seed1", "alone_seed1"))
    text = results.write(made, cells, root).read_text()
    assert "split none with n = no samples" in text
    assert "| full | - | - | - | - |" in text


def test_a_cell_without_answers_is_named(filled):
    made, cells, root = filled([1])
    (root / "alone_seed1" / "eval" / "rl" / "test.jsonl").unlink()
    with pytest.raises(DataError, match="alone_seed1: no answers of rl that can be scored; remove its eval folder"):
        results.collect(made, cells)
