"""A reward from YAML: what is merged, what is refused, and terms from a user's own file."""

import pickle
import subprocess
import sys

import pytest
from test_rewards import ANSWERS, LABELS, build

from gr_vl.errors import ConfigError
from rewards import SafetyReward, preset_names


@pytest.mark.parametrize(
    ("spec", "total"),
    [
        pytest.param({"scale": 0.1}, -3.6, id="scaled"),
        pytest.param({"clamp": [-10, 0]}, -10, id="clamped from below"),
        pytest.param({"clamp": [-40, -37]}, -37, id="clamped from above"),
        pytest.param({"scale": 0.5, "clamp": [-10, 0]}, -10, id="scaled, then clamped"),
        pytest.param({"terms": {"paper": {"beta": 0.5, "power": 1}}}, -6, id="another power"),
        pytest.param({"terms": {"paper": {"weight": 0.5}}}, -18, id="half the weight"),
        pytest.param({"terms": {"paper": None, "accuracy": {}}}, 0, id="off, and another on"),
        pytest.param({"terms": {"format": {"weight": 2}}}, -34, id="one term more"),
        pytest.param({"gate": "none", "terms": {"format": {}}}, -35, id="without a gate"),
    ],
)
def test_what_a_recipe_says_is_merged_over_its_preset(spec, total):
    assert build("paper", **spec)(ANSWERS["wrong"], LABELS, reasoning_tokens=50).total == pytest.approx(total)


@pytest.mark.parametrize("name", preset_names())
def test_a_reward_survives_pickling(name):
    reward = build(name, clamp=[-1, 1])
    assert pickle.loads(pickle.dumps(reward)) == reward


TERM = "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass One:\n    size: float = 1\n"
ONE = TERM + "    def __call__(self, answer):\n        return self.size\n"


@pytest.mark.parametrize("first", ["", "from __future__ import annotations\n"], ids=["", "annotations as strings"])
def test_a_term_of_a_users_file_reaches_another_process(tmp_path, first):
    (tmp_path / "one.py").write_text(first + ONE)
    spec = {"terms": {"one": {"file": str(tmp_path / "one.py"), "size": 3, "weight": 2}}}
    (tmp_path / "reward.pickle").write_bytes(pickle.dumps(SafetyReward.from_config(spec, "guardreasoner_vl")))
    code = "import pickle, sys; print(pickle.load(open(sys.argv[1], 'rb'))('', {}, reasoning_tokens=0).total)"
    command = [sys.executable, "-c", code, str(tmp_path / "reward.pickle")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "6.0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "no such file", id="no file"),
        pytest.param("x = ", "SyntaxError", id="no Python"),
        pytest.param(TERM, "holds 0 terms", id="a dataclass that scores nothing"),
        pytest.param(ONE + ONE.replace("One", "Two"), "holds 2 terms", id="two terms"),
        pytest.param(
            ONE + "    def __post_init__(self):\n        raise ValueError('one.size: no')", "one.size: no", id="no"
        ),
    ],
)
def test_a_users_file_that_is_no_term_is_named(tmp_path, text, message):
    if text is not None:
        (tmp_path / "one.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        SafetyReward.from_config({"terms": {"one": {"file": str(tmp_path / "one.py")}}}, "guardreasoner_vl")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param({"preset": "cubic"}, r"preset='cubic'.*bounded, eco, omni_v1", id="an unknown preset"),
        pytest.param({"terms": {"cubic": {}}}, r"terms.cubic.*accuracy, format, omni_v1", id="an unknown term"),
        pytest.param({"terms": {"paper": {"betta": 1}}}, "weight, beta, floor, power", id="a misspelt parameter"),
        pytest.param({"terms": {"token_price": {"price": "much"}}}, "'much' is no number", id="a word for a number"),
        pytest.param({"terms": {"token_price": {"price": None}}}, "None is no number", id="nothing for a number"),
        pytest.param({"terms": {"token_price": {"weight": True}}}, "True is no number", id="a switch for a weight"),
        pytest.param({"terms": {"token_price": 0.2}}, "block of numbers", id="a number for a term"),
        pytest.param({"terms": {"token_price": {"price": 0.5}}}, "price=0.5", id="a price that outweighs correctness"),
        pytest.param({"terms": {"paper": {"beta": 0.01}}}, "beta=0.01", id="a cut below the floor"),
        pytest.param({"terms": {"paper": {"floor": 0}}}, "floor=0.0", id="no floor"),
        pytest.param({"terms": {"paper": {"power": 9}}}, "power=9.0", id="a power out of range"),
        pytest.param({"terms": {"released_code": {"per": 0}}}, "per=0.0", id="no characters"),
        pytest.param({"terms": {"released_code": {"cut": 0}}}, "cut=0.0", id="a cut at nothing"),
        pytest.param({"terms": {"omni_v1": {"size": 1}}}, "size=1.0", id="a bonus that outweighs correctness"),
        pytest.param({"terms": {"omni_v1": {"scale": 0}}}, "scale=0.0", id="no scale of length"),
        pytest.param({"terms": {"omni_v2": {"size": -1}}}, "size=-1.0", id="a negative penalty"),
        pytest.param({"terms": {"omni_v2": {"free": 0}}}, "free=0.0", id="no free tokens"),
        pytest.param({"terms": {"short": {"size": 0.5}}}, "size=0.5", id="shortness that outweighs correctness"),
        pytest.param({"terms": {"tie_break": {"size": 1}}}, "size=1.0", id="a tie-break of a whole step"),
        pytest.param({"terms": {}}, "no terms; name a preset", id="no terms"),
        pytest.param({"preset": "paper", "terms": {"paper": None}}, "no terms", id="all terms off"),
        pytest.param({"preset": "paper", "terms": ["paper"]}, "block of names", id="a list of terms"),
        pytest.param({"preset": "paper", "length": "x"}, "length is unknown.*preset, terms", id="an unknown key"),
        pytest.param({"preset": "paper", "gate": "html"}, "tags, result, none", id="an unknown gate"),
        pytest.param({"preset": "paper", "budget": 0}, "budget=0", id="no budget"),
        pytest.param({"preset": "paper", "budget": "all"}, "budget='all'", id="a word for a budget"),
        pytest.param({"preset": "paper", "scale": 0}, "scale=0", id="no scale"),
        pytest.param({"preset": "paper", "scale": float("inf")}, "scale=inf", id="an endless scale"),
        pytest.param({"preset": "paper", "time_limit": float("inf")}, "time_limit=inf", id="an endless time limit"),
        pytest.param({"preset": "paper", "time_limit": -1}, "time_limit=-1", id="a limit in the past"),
        pytest.param({"preset": "paper", "clamp": [1, 0]}, "low < high", id="a clamp upside down"),
        pytest.param({"preset": "paper", "clamp": 5}, "low < high", id="half a clamp"),
        pytest.param({"preset": "paper", "tasks": {"category": 1}}, "category.*prompt, response", id="an unknown task"),
        pytest.param({"preset": "paper", "tasks": {"prompt": -1}}, "prompt=-1", id="a negative weight of a task"),
    ],
)
def test_a_reward_that_cannot_score_is_refused_at_once(spec, message):
    with pytest.raises(ConfigError, match=message) as caught:
        SafetyReward.from_config(spec, "guardreasoner_vl")
    assert str(caught.value).startswith("gr_vl.reward")
    assert "\n" not in str(caught.value)


def test_an_unknown_dialect_is_refused_at_once():
    with pytest.raises(ConfigError, match="guardreasoner_vl"):
        SafetyReward.from_config({"preset": "paper"}, "klingon")
