"""What a person writes after `=` arrives as it was written: Hydra's grammar is for numbers, lists and blocks alone."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gr_vl import checks, compose, overrides
from gr_vl.errors import ConfigError

COMMON = """
gr_vl:
  kind: ???
  run: runs/x
  seed: 1
  model: tiny
  name: plain
  rate: 0.5
  data: {folder: null}
  corpus: ${gr_vl.run}/data/train.parquet
  start_model: ???
  loggers: [console]
"""

TEXTS = {
    "accented letters": "runs/été",
    "Chinese characters": "/media/新加卷2/x",
    "an emoji": "runs/🙂",
    "an equals sign": "runs/lr=1e-5",
    "a comma, which is a sweep for Hydra": "runs/a,b",
    "round brackets": "runs/exp(1)",
    "square brackets, which are a list for Hydra": "[v1]",
    "braces, which are a block for Hydra": "{a: 1}",
    "a call, which is a function for Hydra": "glob(*)",
    "spaces": "/data/exp (1)/a  b",
    "a number sign": "runs/a#b",
    "a whole number": "2026",
    "a number with a zero in front": "007",
    "a fraction": "1e-5",
    "a date": "2026-01-01",
    "a time of day": "12:30",
    "a truth value": "true",
    "YAML's truth value": "on",
    "a colon and a space": "a: b",
    "a backslash": "a\\b",
    "a backslash at the end": "a\\",
    "an apostrophe": "it's",
    "a double quote": 'a"b',
    "a dollar sign": "a$b",
    "a tilde inside": "runs/a~b",
    "a name in letters of YAML": "@x %y &z *w",
}
KEYS = ("run", "gr_vl.data.folder", "gr_vl.start_model", "gr_vl.name", "+gr_vl.eval.models.rl")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    """A recipe in a folder that Hydra's grammar refuses, in which a stage composes fast."""
    folder = tmp_path_factory.mktemp("josé") / "exp (1), [v=1] #2"
    (folder / "data").mkdir(parents=True)
    (folder / "common.yaml").write_text(COMMON)
    (folder / "data.yaml").write_text("defaults: [common, _self_, data: tiny]\ngr_vl:\n  kind: data\n")
    for overlay in ("tiny", "2026", "petit-é"):
        (folder / "data" / f"{overlay}.yaml").write_text(f"# @package _global_\ngr_vl:\n  overlay: {overlay}\n")
    return str(folder)


def leaves(recipe, *items):
    return compose.leaves(compose.stage(recipe, "data", items).config)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_path_or_a_text_arrives_as_it_was_written_also_through_the_file_of_a_stage(recipe, tmp_path, key, text):
    stage = compose.stage(recipe, "data", [f"{key}={text}"])
    dotted = overrides.SHORT.get(key, key.lstrip("+"))
    OmegaConf.save(stage.config, tmp_path / "config.yaml")
    read = OmegaConf.load(tmp_path / "config.yaml")
    assert compose.leaves(stage.config)[dotted] == compose.leaves(read)[dotted] == text
    if key == "run":
        assert read.gr_vl.corpus == f"{text}/data/train.parquet"


@pytest.mark.parametrize("key", ["run", "gr_vl.data.folder", "gr_vl.start_model"])
def test_a_path_from_home_is_expanded(recipe, monkeypatch, key):
    monkeypatch.setenv("HOME", "/home/josé")
    found = leaves(recipe, f"{key}=~/x")
    assert found[overrides.SHORT.get(key, key)] == "/home/josé/x"


def test_quotes_around_a_value_are_taken_off(recipe):
    found = leaves(recipe, "run='runs/été'", 'gr_vl.data.folder="a, b"', "gr_vl.name='null'")
    assert (found["gr_vl.run"], found["gr_vl.data.folder"], found["gr_vl.name"]) == ("runs/été", "a, b", "null")


@pytest.mark.parametrize("overlay", ["2026", "petit-é"])
def test_an_overlay_may_be_called_so_too(recipe, overlay):
    (Path(recipe) / "data").mkdir(exist_ok=True)
    config = compose.stage(recipe, "data", [f"model={overlay}", "+gr_vl.note=1"]).config
    assert (str(config.gr_vl.overlay), config.gr_vl.model) == (overlay, overlay)


@pytest.mark.parametrize(
    ("item", "key", "value"),
    [
        pytest.param("gr_vl.loggers=[console,file]", "gr_vl.loggers", ["console", "file"], id="a list"),
        pytest.param("gr_vl.rate=1e-3", "gr_vl.rate", 1e-3, id="a fraction"),
        pytest.param("gr_vl.rate=null", "gr_vl.rate", None, id="null for a number"),
        pytest.param("gr_vl.data.folder=null", "gr_vl.data.folder", None, id="null for a path that has no default"),
        pytest.param("+gr_vl.new={a: 1, b: [x, true]}", "gr_vl.new.b", ["x", True], id="a block"),
        pytest.param("gr_vl.start_model=${gr_vl.run}/m", "gr_vl.start_model", "runs/x/m", id="a reference"),
        pytest.param("+gr_vl.new=a(b", "gr_vl.new", "a(b", id="what Hydra cannot read, for a key of any type"),
    ],
)
def test_what_the_grammar_is_right_for_goes_on_working(recipe, item, key, value):
    assert leaves(recipe, item)[key] == value


@pytest.mark.parametrize(
    ("item", "words"),
    [
        pytest.param("run=", ["gr_vl.run=: must be a path"], id="an empty run"),
        pytest.param("run=null", ["gr_vl.run=null: must be a path", "./null"], id="no run"),
        pytest.param("run=???", ["gr_vl.run=???: must be a path"], id="a gap for the run"),
        pytest.param("gr_vl.data.folder=", ["gr_vl.data.folder=: must be a path"], id="an empty folder"),
        pytest.param("gr_vl.start_model=null", ["gr_vl.start_model=null", "path"], id="no model where one is needed"),
        pytest.param("gr_vl.data.folder=${gr_vl.seed}", ["gr_vl.data.folder=1", "number"], id="a number by reference"),
        pytest.param("seed=null", ["gr_vl.seed=null", "default 1"], id="no seed"),
        pytest.param("seed=1,2", ["gr_vl.seed=1,2", "gr-vl ablate"], id="several seeds"),
        pytest.param("gr_vl.rate=[1", ["gr_vl.rate='[1' must be of type float"], id="a broken list for a number"),
        pytest.param("run=a${b", ["gr_vl.run='a${b'", "this one cannot be read"], id="half a reference"),
        pytest.param("run=${nowhere}", ["gr_vl.run='${nowhere}'", "nothing is called nowhere"], id="one to nothing"),
        pytest.param(r"run=a\${b}", ["gr_vl.run=a${b}", "choose another"], id="a run that reads as a reference"),
        pytest.param("gr_vl.é=1", ["'gr_vl.é' is no key"], id="a key that Hydra cannot read"),
        pytest.param("+=3", ["'' is no key"], id="no key"),
        pytest.param("~gr_vl.rat", ["gr_vl.rat:", "gr_vl.rate?"], id="an unknown key that is taken away"),
        pytest.param("+gr_vl.run=x", ["+gr_vl.run:", "drop the +"], id="a known key that is added"),
        pytest.param("run=a\nb", [r"'\n' is no character of a text"], id="a line break"),
        pytest.param("run=caf\udce9", [r"'\udce9' is no character of a text"], id="a byte that is no UTF-8"),
        pytest.param("config=common", ["config='common'", "data"], id="a file that is no stage"),
        pytest.param("config=../data", ["config='../data'"], id="a stage of another folder"),
    ],
)
def test_a_mistake_is_answered_with_key_value_and_fix(recipe, item, words):
    with pytest.raises(ConfigError) as caught:
        compose.stage(recipe, "data", [item])
    message = str(caught.value)
    assert "\n" not in message
    assert not [name for name in ("Exception", "Lexer", "Error", "full_key") if name in message]
    for word in words:
        assert word in message


@pytest.mark.parametrize("gone", ["gr_vl.clip", "gr_vl.reward"])
def test_a_setting_that_was_taken_away_is_missed_in_one_line(gone):
    stage = compose.stage("guardreasoner_vl", "rl", ["model=tiny", f"~{gone}"])
    with pytest.raises(ConfigError, match=rf"rl: a setting is missing .*{gone.split('.')[1]}.*leave out ~KEY"):
        checks.check(stage, files=False)


def test_verl_may_be_installed_below_any_folder(recipe, monkeypatch, tmp_path):
    site = tmp_path / "josé" / "exp (1), [v=1] #2" / "verl"
    (site / "trainer" / "config").mkdir(parents=True)
    (site / "__init__.py").touch()
    (site / "trainer" / "config" / "theirs.yaml").write_text("trainer:\n  steps: 7\n")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: type("Spec", (), {"origin": str(site / "__init__.py")})
    )
    (tmp_path / "common.yaml").write_text(COMMON)
    (tmp_path / "data.yaml").write_text("defaults: [theirs, common, _self_]\ngr_vl:\n  kind: data\n")
    assert compose.stage(str(tmp_path), "data", ["seed=2"]).config.trainer.steps == 7


@pytest.mark.parametrize("content", ["a: [1", "- x", "caf\udce9: 1"], ids=["no YAML", "a list", "no UTF-8"])
def test_a_broken_file_of_a_recipe_is_named(tmp_path, content):
    (tmp_path / "common.yaml").write_text(COMMON)
    (tmp_path / "data.yaml").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=r"data\.yaml: no configuration in YAML") as caught:
        compose.stage(str(tmp_path), "data", ["seed=2"])
    assert "\n" not in str(caught.value)
