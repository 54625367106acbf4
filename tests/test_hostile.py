"""Every parser and every reward under answers that mean ill: total, linear, and never paid for what is not there."""

import math
import random
import time

import pytest
from grammar import mutated, strict_reading, valid
from hostile import GOOD, HOSTILE, NO_VERDICT, NOT_WELL_FORMED
from hypothesis import given, settings
from hypothesis import strategies as st

from gr_vl import dialects
from gr_vl.schema import Label, ParseFailure, Task, Verdict
from rewards import SafetyReward, preset_names

GUARD = dialects.get("guardreasoner_vl")
LABELS = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}
REWARDS = {name: SafetyReward.from_config({"preset": name}, "guardreasoner_vl") for name in preset_names()}


@pytest.mark.parametrize("kind", NO_VERDICT)
def test_no_verdict_is_read_where_none_was_given(kind):
    assert isinstance(GUARD.parse(NO_VERDICT[kind]), ParseFailure)


@pytest.mark.parametrize("kind", NOT_WELL_FORMED)
def test_a_readable_verdict_in_the_wrong_form_is_not_well_formed(kind):
    outcome = GUARD.parse(NOT_WELL_FORMED[kind])
    assert isinstance(outcome, Verdict)
    assert not outcome.well_formed


@pytest.mark.parametrize("name", REWARDS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_no_reward_pays_a_hostile_answer_more_than_a_good_one(name, kind):
    reward, lengths = REWARDS[name], {"reasoning_tokens": 40, "output_tokens": 70, "characters": 300}
    good = reward(GOOD, LABELS, **lengths)
    hostile = reward(HOSTILE[kind], LABELS, **lengths)
    assert math.isfinite(hostile.total)
    assert hostile.total <= good.total
    if reward.gate == "tags" or kind in NO_VERDICT:
        assert hostile.total < good.total
        # A gate of the blocks alone, as published, does not look into them.
        assert hostile.format == 0 or reward.gate == "blocks"


@pytest.mark.parametrize("name", REWARDS)
def test_a_label_that_is_not_known_changes_no_reward(name):
    reward, known = REWARDS[name], {Task.PROMPT: Label.HARMFUL}
    answers = [GOOD.replace(": unharmful", f": {label}") for label in (Label.HARMFUL, Label.UNHARMFUL)]
    lengths = {"reasoning_tokens": 40, "characters": 300}
    one, other = (reward(text, known, **lengths) for text in answers)
    assert one == other
    assert set(one.correct) == {Task.PROMPT}


def seconds(text):
    def once():
        begin = time.process_time()
        REWARDS["paper"](text, LABELS, reasoning_tokens=1)
        return time.process_time() - begin

    return min(once() for _ in range(15))


@pytest.mark.parametrize("piece", ["a", "\n", " ", "<", "<think>", "</think>", "<result>", "</result>", "Request: "])
@pytest.mark.parametrize("place", ["</think>", "Answers:", "Request:", "unharmful"])
def test_time_grows_no_faster_than_the_answer(piece, place):
    size = 2**13
    once, eight = (seconds(GOOD.replace(place, piece * n + place)) for n in (size, 8 * size))
    # Quadratic work would take 64 times as long; a pause of the machine may double a millisecond.
    assert eight < 24 * once + 2e-3


@pytest.mark.timeout(60)
def test_pathological_answers_do_not_stall_a_batch():
    batch = [text for text in HOSTILE.values() if len(text) > 10**5]
    assert len(batch) > 10
    for text in batch:
        assert REWARDS["paper"](text, LABELS, reasoning_tokens=1).total <= 0


def agrees(text):
    outcome = GUARD.parse(text)
    if isinstance(outcome, Verdict) and outcome.well_formed:
        assert strict_reading(text) == tuple(outcome.labels[task] for task in (Task.PROMPT, Task.RESPONSE))


def test_the_strict_reader_accepts_what_is_valid_and_refuses_what_is_hostile():
    draw = random.Random(1)
    assert all(strict_reading(valid(draw)) for _ in range(50))
    assert not any(strict_reading(text) for text in HOSTILE.values())


def test_no_verdict_is_accepted_that_the_strict_reading_refuses():
    draw = random.Random(2)
    texts = [mutated(draw) for _ in range(5000)]
    for text in texts:
        agrees(text)
    accepted = sum(strict_reading(text) is not None for text in texts)
    assert 0.1 < accepted / len(texts) < 0.9


@settings(max_examples=100)
@given(st.text() | st.integers().map(lambda seed: mutated(random.Random(seed))))
def test_hypothesis_finds_no_disagreement_either(text):
    agrees(text)
