"""A mixture's recipe: the shipped one is the published one, and a mistake is one line that names the key."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf
from typer.testing import CliRunner

from gr_vl.cli import app
from gr_vl.data import sources
from gr_vl.data.build import recipe
from gr_vl.data.sources import guardreasoner_text_benchmarks
from gr_vl.errors import ConfigError

SHIPPED = Path(__file__).parent.parent / "recipes/data/guardreasoner_vl.yaml"
GOOD = "{seed: 1, dialect: guardreasoner_vl, splits: {train: 1.0}, parts: {all: {sources: {s: s}}}}"


def test_the_shipped_mixture_has_the_published_numbers(tmp_path):
    found = recipe.load(SHIPPED, tmp_path)
    drawn = {part.name: part.draw.amounts[""] for part in found.parts}
    assert drawn == {"text": 63_799, "image": 13_267, "text_image": 46_030}
    assert sum(drawn.values()) == 123_096
    assert next(source for source in found.ingredients if source.name == "hod").draw.amounts == {"": 0.6}
    assert len(found.benchmarks) == 13
    assert found.ingredients[0].folder == tmp_path / "wildguardmix"


def test_the_released_corpus_keeps_what_its_dialect_learns(tmp_path):
    found = recipe.load(SHIPPED.with_name("guardreasoner.yaml"), tmp_path)
    assert [item.name for item in found.ingredients] == ["guardreasoner_train_refusal"]
    assert {item.name for item in found.benchmarks} <= set(sources.names())
    for size in ("1b", "3b", "8b"):
        settings = OmegaConf.load(SHIPPED.parents[1] / "guardreasoner" / "subset" / f"{size}.yaml").gr_vl.subset
        origins = sources.get("guardreasoner_train_refusal").origins
        assert {name for without in settings.without.values() for name in without} == set(origins) - {"wildguard"}


@pytest.mark.parametrize("name", ["guardreasoner", "guardreasoner_vl"])
def test_a_shipped_mixture_leaves_out_every_benchmark_that_its_folders_hold(tmp_path, name):
    found = {
        item.name: item.folder.name for item in recipe.load(SHIPPED.with_name(f"{name}.yaml"), tmp_path).benchmarks
    }
    texts = {name for name, folder in found.items() if folder == "guardreasoner"}
    assert texts == {source.name for source in guardreasoner_text_benchmarks.SOURCES}


def test_what_is_not_said_has_a_default(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(GOOD)
    found = recipe.load(path)
    assert (found.max_bad_share, found.near_text, found.near_image, found.benchmarks) == (0.05, 0.8, 12, ())
    assert found.ingredients[0].draw.amounts == {"": "all"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        pytest.param("seed: 1", "sed: 1", "sed is unknown; use one of: .*seed", id="an unknown key"),
        pytest.param("seed: 1, ", "", "seed is missing", id="no seed"),
        pytest.param("dialect: guardreasoner_vl, ", "", "pass --dialect, one of: guardreasoner", id="no dialect"),
        pytest.param("seed: 1", "seed: one", "seed='one' must be a number", id="a seed in words"),
        pytest.param("train: 1.0", "train: 0.9", "must sum to 1", id="splits that lose rows"),
        pytest.param("train: 1.0", "Train/a: 1.0", "splits.Train/a: names are files", id="a split that is a path"),
        pytest.param("{s: s}", "{}", "parts.all.sources is empty", id="a part without sources"),
        pytest.param("{s: s}", "{s: {draw: all}}", "sources.s: folder is missing", id="a source without a folder"),
        pytest.param("{s: s}", "{s: {folder: s, draw: -1}}", "s.draw=-1 must be all", id="a draw below nothing"),
        pytest.param("{s: s}", "{s: {folder: s, draw: 1.5}}", "s.draw=1.5 must be all", id="more than everything"),
        pytest.param("{s: s}", "{s: {folder: s, draw: {video: 1}}}", "draw.video is no cell", id="an unknown cell"),
        pytest.param("{s: s}", "{s: {folder: s, draw: {textprompt/harmful: 1}}}", "is no cell", id="a glued cell"),
        pytest.param("}}}}", "}}}, benchmarks: {s: s}}", "s: appears twice", id="a source that is its own benchmark"),
        pytest.param("{seed", "seed", "not YAML", id="no YAML"),
    ],
)
def test_a_mistake_is_named(tmp_path, old, new, message):
    path = tmp_path / "r.yaml"
    path.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as error:
        recipe.load(path)
    assert "\n" not in str(error.value)


def test_a_recipe_that_is_not_there_is_answered_with_those_that_are(tmp_path):
    result = CliRunner().invoke(app, ["data", "build", "none", str(tmp_path / "out")])
    assert isinstance(result.exception, ConfigError)
    assert "one of: guardreasoner, guardreasoner_vl" in str(result.exception)


@pytest.mark.parametrize("name", ["guardreasoner", "guardreasoner_vl"])
def test_a_shipped_mixture_is_examined_under_the_dialect_that_it_teaches(name):
    path = SHIPPED.with_name(f"{name}.yaml")
    assert recipe.load(path).dialect == name
    assert recipe.load(path, dialect="rsafe").dialect == "rsafe"
    with pytest.raises(ConfigError, match="'llama' is unknown; use one of: guardreasoner, guardreasoner_vl, rsafe"):
        recipe.load(path, dialect="llama")
