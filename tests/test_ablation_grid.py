"""Grids: the shipped ones are complete, and a mistake in the file costs one line."""

import pytest
from ablations import write_grid

from gr_vl.ablation import grid
from gr_vl.errors import ConfigError


def test_a_grid_is_read_with_its_defaults(tmp_path):
    found = grid.load(str(write_grid(tmp_path)))
    assert (found.name, found.seeds, found.reference, found.score) == ("grid", (1, 2), "full", "rl")
    assert found.variants == {"full": (), "alone": ("concat:gr_vl.concat.share=0.0",)}
    assert found.stages == found.overrides == ()


def test_references_to_the_run_are_left_to_the_recipe(tmp_path):
    item = "eval:gr_vl.eval.models.rl=${gr_vl.run}/sft/model"
    assert grid.load(str(write_grid(tmp_path, overrides=[item]))).overrides == (item,)


@pytest.mark.parametrize(
    ("name", "variants"),
    [
        ("paper", ["full", "without_augmentation", "without_dynamic_clip", "without_length_reward", "without_rl"]),
        ("clip", ["paper", "linear", "cosine", "constant", "clip_higher"]),
        ("length", ["bounded", "paper", "eco"]),
        ("preference", ["weighted", "unweighted", "without_dpo"]),
        ("policy_shift", ["with_shift", "without_shift"]),
    ],
)
def test_a_shipped_grid_is_found_by_name(name, variants):
    found = grid.load(name)
    assert list(found.variants) == variants
    assert found.reference == variants[0]
    assert found.seeds == (1, 2, 3)
    assert "model=tiny" in found.overrides


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"variant": {}}, ["variant: no such key", "recipe, stages"], id="an unknown key"),
        pytest.param({"seeds": None}, ["seeds: is missing"], id="no seeds"),
        pytest.param({"seeds": []}, ["seeds=[]", "[1, 2, 3]"], id="an empty list of seeds"),
        pytest.param({"seeds": [1, 1]}, ["seeds=[1, 1]", "different"], id="a seed twice"),
        pytest.param({"seeds": [1, "x"]}, ["seeds=[1, 'x']", "whole numbers"], id="a seed in words"),
        pytest.param({"variants": {}}, ["variants={}", "full: []"], id="no variant"),
        pytest.param({"variants": {"full": "seed=1"}}, ["variants.full='seed=1'", "list"], id="no list of overrides"),
        pytest.param({"variants": {"a/b": []}}, ["variants.a/b", "letters"], id="a name that is no folder"),
        pytest.param({"variants": {"shared": []}}, ["variants.shared", "not 'shared'"], id="a name that is taken"),
        pytest.param({"reference": "best"}, ["reference='best'", "full, alone"], id="an unknown reference"),
        pytest.param({"overrides": ["run=x"]}, ["run=x", "command line"], id="the run folder"),
        pytest.param(
            {"variants": {"full": ["data:gr_vl.seed=3"]}}, ["gr_vl.seed=3", "seeds: of the grid"], id="a seed inside"
        ),
    ],
)
def test_a_mistake_in_a_grid_costs_one_line(tmp_path, changes, words):
    path = write_grid(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        grid.load(str(path))
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("text", "word"),
    [
        pytest.param("a: [", "not YAML", id="broken YAML"),
        pytest.param("a: 1\na: 2", "not YAML", id="a key twice"),
        pytest.param("- a", "holds no keys", id="a list"),
        pytest.param("", "recipe: is missing", id="nothing"),
    ],
)
def test_a_file_that_is_no_grid_is_refused(tmp_path, text, word):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=word) as caught:
        grid.load(str(path))
    assert "\n" not in str(caught.value)


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ConfigError, match="GRID='clap' is neither a file nor one of: clip, length, paper"):
        grid.load("clap")
