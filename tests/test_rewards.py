"""Rewards against totals computed by hand."""

import math
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gr_vl.errors import ConfigError
from gr_vl.schema import Label, Task
from rewards import LENGTH_TERMS, SafetyReward, length_term

LABELS = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}
BUDGET = 600
SHORT, CUT, LONG = 60, 100, 600
"""A tenth of the budget, a sixth (the cut of Eco), all of it."""


def answer(request, response):
    return f"<think>a</think>\n<result>\nAnswers:\nRequest: {request}\nResponse: {response}\n</result>"


ANSWERS = {
    "right": answer("harmful", "unharmful"),
    "half right": answer("harmful", "harmful"),
    "wrong": answer("unharmful", "harmful"),
    "malformed": answer("harmful", "unharmful") + " and so on",
    "unparsable": "<think>a",
    "unfinished": answer("harmful", "unharmful"),
}
BASE = ("paper", {"beta": 1})
ECO = ("paper", {"beta": 1 / 6})
PRICE = ("price", {"price": 0.3})
# Paper: (r - 1) / min(l, beta)^2 with l = 1/10, 1/6, 1. Price: r - 0.3 l.
TOTALS = [
    ("base", BASE, "right", (0, 0, 0)),
    ("base", BASE, "half right", (-50, -18, -0.5)),
    *[("base", BASE, kind, (-100, -36, -1)) for kind in ("wrong", "malformed", "unparsable", "unfinished")],
    ("eco", ECO, "right", (0, 0, 0)),
    ("eco", ECO, "half right", (-50, -18, -18)),
    *[("eco", ECO, kind, (-100, -36, -36)) for kind in ("wrong", "malformed", "unparsable", "unfinished")],
    ("price", PRICE, "right", (0.97, 0.95, 0.7)),
    ("price", PRICE, "half right", (0.47, 0.45, 0.2)),
    *[("price", PRICE, kind, (-0.03, -0.05, -0.3)) for kind in ("wrong", "malformed", "unparsable", "unfinished")],
]


def reward(spec):
    kind, parameters = spec
    return SafetyReward.from_config({"budget": BUDGET, "length": kind, kind: parameters}, "guardreasoner_vl")


@pytest.mark.parametrize(
    ("spec", "kind", "tokens", "total"),
    [
        pytest.param(spec, kind, tokens, total, id=f"{name}: {kind}, {tokens} tokens")
        for name, spec, kind, totals in TOTALS
        for tokens, total in zip((SHORT, CUT, LONG), totals, strict=True)
    ],
)
def test_totals(spec, kind, tokens, total):
    got = reward(spec)(ANSWERS[kind], LABELS, reasoning_tokens=tokens, finished=kind != "unfinished")
    assert got.total == pytest.approx(total)


def test_every_term_is_reported():
    got = reward(PRICE)(ANSWERS["half right"], LABELS, reasoning_tokens=60)
    assert (got.accuracy, got.format, got.length, got.failure) == (0.5, 1.0, 0.1, "")
    assert got.correct == {Task.PROMPT: True, Task.RESPONSE: False}


def test_an_unparsable_answer_names_the_failure():
    assert reward(PRICE)("<think>a", LABELS, reasoning_tokens=1).failure == "unclosed_reasoning"


def test_an_unknown_label_is_not_scored():
    got = reward(PRICE)(ANSWERS["half right"], {Task.PROMPT: Label.HARMFUL}, reasoning_tokens=0)
    assert (got.accuracy, got.total) == (1.0, 1.0)


def test_without_reasoning_the_floor_keeps_the_paper_finite():
    assert reward(BASE)(ANSWERS["wrong"], LABELS, reasoning_tokens=0).total == pytest.approx(-400)


@given(st.sampled_from(list(ANSWERS)), st.integers(-10, 10**6), st.floats(0.05, 1))
def test_the_papers_reward_lies_between_the_floor_and_zero(kind, tokens, beta):
    total = reward(("paper", {"beta": beta}))(ANSWERS[kind], LABELS, reasoning_tokens=tokens).total
    assert -400 - 1e-9 <= total <= 0


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 0.4999))
def test_a_price_never_breaks_the_order_by_correctness(tokens, others, price):
    score = reward(("price", {"price": price}))
    totals = [
        score(ANSWERS["right"], LABELS, reasoning_tokens=tokens).total,
        score(ANSWERS["half right"], LABELS, reasoning_tokens=others).total,
        score(ANSWERS["wrong"], LABELS, reasoning_tokens=tokens).total,
    ]
    assert 1 >= totals[0] > totals[1] > totals[2] >= -price


@pytest.mark.parametrize("spec", [BASE, ECO, PRICE], ids=["base", "eco", "price"])
def test_a_reward_survives_pickling(spec):
    assert pickle.loads(pickle.dumps(reward(spec))) == reward(spec)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(("cubic", {}), ", ".join(LENGTH_TERMS), id="an unknown kind"),
        pytest.param(("paper", {"betta": 1}), "beta, floor", id="a misspelt parameter"),
        pytest.param(("price", {"price": "much"}), "much", id="a word for a number"),
        pytest.param(("price", {"price": None}), "numbers", id="nothing for a number"),
        pytest.param(("price", {"price": 0.5}), "price=0.5", id="a price that could outweigh correctness"),
        pytest.param(("price", {"price": math.nan}), "price=nan", id="a price that is not a number"),
        pytest.param(("paper", {"beta": 0.01}), "beta=0.01", id="a cut below the floor"),
        pytest.param(("paper", {"floor": 0}), "floor=0.0", id="no floor"),
    ],
)
def test_bad_length_terms_are_named(spec, message):
    with pytest.raises(ConfigError, match=message):
        length_term(*spec)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"budget": 0}, "budget=0", id="no budget"),
        pytest.param({"dialect": "klingon"}, "guardreasoner_vl", id="an unknown dialect"),
    ],
)
def test_a_reward_that_cannot_score_is_refused_at_once(settings, message):
    with pytest.raises(ConfigError, match=message):
        SafetyReward(**settings)
