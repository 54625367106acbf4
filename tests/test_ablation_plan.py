"""From a grid to cells: what is shared, what is a cell's own, and what is refused."""

from dataclasses import replace

import pytest
from ablations import write_grid

from gr_vl.ablation import grid
from gr_vl.ablation.plan import plan
from gr_vl.errors import ConfigError

SHARE = "concat:gr_vl.concat.share"


def planned(tmp_path, *overrides, **changes):
    return plan(grid.load(str(write_grid(tmp_path, **changes))), tmp_path / "out", overrides)


def places(cells):
    """By cell: the folder in which each stage is run."""
    return {cell.name: [stage.run.name for stage in cell.stages] for cell in cells}


def test_a_grid_is_variants_times_seeds_and_each_stage_has_one_place(tmp_path):
    assert places(planned(tmp_path)) == {
        "full_seed1": ["shared_seed1", "shared_seed1", "shared_seed1"],
        "alone_seed1": ["shared_seed1", "alone_seed1", "alone_seed1"],
        "full_seed2": ["shared_seed2", "shared_seed2", "shared_seed2"],
        "alone_seed2": ["shared_seed2", "alone_seed2", "alone_seed2"],
    }


def test_every_stage_knows_its_folder_and_seed(tmp_path):
    *_, cell = planned(tmp_path)
    data, concat, evaluation = cell.stages
    assert [stage.config.gr_vl.seed for stage in cell.stages] == [2, 2, 2]
    assert concat.folder == tmp_path / "out" / "alone_seed2" / "concat"
    assert data.folder == tmp_path / "out" / "shared_seed2" / "data"
    assert evaluation.config.gr_vl.eval.models.rl == f"{tmp_path}/out/alone_seed2/concat/model"


def test_variants_with_equal_settings_are_run_once(tmp_path):
    variants = {"full": [], "again": [f"{SHARE}=0.2"], "half": [f"{SHARE}=0.5"], "too": [f"{SHARE}=0.5"]}
    assert places(planned(tmp_path, variants=variants, seeds=[4])) == {
        "full_seed4": ["shared_seed4"] * 3,
        "again_seed4": ["shared_seed4"] * 3,
        "half_seed4": ["shared_seed4", "half_seed4", "half_seed4"],
        "too_seed4": ["shared_seed4", "half_seed4", "half_seed4"],
    }


def test_only_what_reads_a_changed_stage_is_run_again(tmp_path):
    # The evaluation's own settings differ, its corpus and model do not.
    variants = {"full": [], "warm": ["eval:gr_vl.generation.temperature=0.5"]}
    assert places(planned(tmp_path, variants=variants, seeds=[1]))["warm_seed1"] == [
        "shared_seed1",
        "shared_seed1",
        "warm_seed1",
    ]
    # Pairs are made of the corpus: a smaller one changes everything after it.
    variants = {"full": [], "small": ["data:gr_vl.data.train=9"]}
    assert places(planned(tmp_path, variants=variants, seeds=[1]))["small_seed1"] == ["small_seed1"] * 3


def test_variants_added_later_move_nothing(tmp_path):
    before = places(planned(tmp_path))
    variants = {"new": [f"{SHARE}=0.4"], "alone": [f"{SHARE}=0.0"], "full": []}
    after = places(planned(tmp_path, variants=variants))
    assert {name: after[name] for name in before} == before


def test_a_digest_is_of_settings_and_of_what_is_read(tmp_path):
    full, alone = planned(tmp_path, seeds=[1])
    moved, _ = planned(tmp_path, seeds=[9])
    assert full.digests == moved.digests
    assert full.digests["data"] == alone.digests["data"]
    assert full.digests["concat"] != alone.digests["concat"]
    # The same settings, another model.
    assert full.digests["eval"] != alone.digests["eval"]


def test_a_variant_has_the_last_word(tmp_path):
    cells = planned(tmp_path, f"{SHARE}=0.3", overrides=[f"{SHARE}=0.1"], seeds=[1])
    assert [cell.stages[1].config.gr_vl.concat.share for cell in cells] == [0.3, 0.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"overrides": ["gr_vl.sead=2"]}, ["every cell: gr_vl.sead", "gr_vl.seed?"], id="a key of all"),
        pytest.param(
            {"variants": {"full": [], "odd": [f"{SHARE}=2.0"]}}, ["variant odd: ", "share=2.0"], id="a value of one"
        ),
        pytest.param(
            {"variants": {"full": ["rl:x=1"]}}, ["variant full: rl:x=1", "data, concat, eval"], id="no such stage"
        ),
        pytest.param(
            {"stages": ["data", "eval"], "variants": {"full": []}},
            ["eval reads what concat makes", "add it"],
            id="a stage left out",
        ),
        pytest.param({"stages": ["data", "concat"]}, ["score=rl", "last stage, concat"], id="no evaluation"),
        pytest.param({"score": "sft"}, ["score=sft", "['rl']"], id="a model that is not evaluated"),
    ],
)
def test_a_mistake_is_found_before_anything_runs(tmp_path, changes, words):
    with pytest.raises(ConfigError) as caught:
        planned(tmp_path, **changes)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "shared"),
    [
        *((name, ("data", "base", "sft", "mine")) for name in ("paper", "clip", "length", "preference")),
        # Its variants differ in what they are taught.
        ("policy_shift", ()),
    ],
)
def test_a_shipped_grid_composes_and_shares_its_cold_start(tmp_path, name, shared):
    first = plan(replace(grid.load(name), seeds=(1,)), tmp_path)
    folders = [{stage.name: stage.folder for stage in cell.stages} for cell in first]
    for stage in shared:
        assert len({found[stage] for found in folders}) == 1
    # No two variants are the same.
    assert len({found["eval"] for found in folders}) == len(first)
