"""Rewards of a whole step: groups that lie mixed, and what a term did."""

import pytest

from gr_vl.schema import Label, Task, Verdict
from rewards import Reading, SafetyReward
from rewards.groups import score_step, term_statistics

TRUTH = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}


def right(tokens):
    return Reading(Verdict(TRUTH, "", well_formed=True), TRUTH, tokens, tokens + 20, 4 * tokens, True)


def test_an_answer_is_compared_with_the_answers_to_its_own_prompt_wherever_they_lie():
    reward = SafetyReward.from_config({"terms": {"short": {"size": 0.2}}}, "guardreasoner_vl")
    step = [right(10), right(100), right(50), right(300), right(30), right(200)]
    # a: 10, 50, 30 tokens; b: 100, 300, 200.
    totals = [got.total for got in score_step(reward, step, ["a", "b", "a", "b", "a", "b"])]
    assert totals == pytest.approx([0.2, 0.2, 0.0, 0.0, 0.1, 0.1])


def test_a_reward_without_group_terms_scores_a_step_as_it_scores_answers():
    reward = SafetyReward.from_config({"preset": "token_price", "budget": 100}, "guardreasoner_vl")
    step = [right(tokens) for tokens in (10, 40, 70)]
    assert score_step(reward, step, ["a", "b", "a"]) == [reward.score(reading) for reading in step]


def test_statistics_of_a_term():
    terms = [{"x": 1.0}, {"x": 3.0}, {"x": 2.0}, {"x": 2.0}]
    # Groups a: 1, 2 and b: 3, 2 differ inside; c would be flat.
    assert term_statistics(terms, ["a", "b", "a", "b"]) == {
        "x": 2.0,
        "x_std": pytest.approx(0.5**0.5),
        "x_zero_spread": 0.0,
    }
    assert term_statistics(terms, ["a", "b", "c", "c"])["x_zero_spread"] == 1.0
