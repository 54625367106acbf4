"""Hard-sample mining: which samples are hard, how hard the corpus is, and a draw that order cannot change."""

import pytest

from gr_vl.augment.mining import is_correct, keep, select
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict

H, U = Label.HARMFUL, Label.UNHARMFUL
TEXTS = [Sample(f"t{index}", "test", "words", "answer", labels={Task.PROMPT: H}) for index in range(5)]
IMAGE = Sample("i", "test", "", "answer", (b"png",), {Task.PROMPT: H})
COUNTS = {"t0": 0, "t1": 1, "t2": 4, "t3": 0, "t4": 3, "i": 4}


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("all_wrong", [0]), ("any_wrong", [0, 1, 2, 3]), ("mixed", [1, 2, 3])],
)
def test_each_rule_keeps_these_counts_of_right_answers(rule, kept):
    assert [right for right in range(5) if keep(rule, right, 4)] == kept


def test_an_unknown_rule_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="all_wrong, any_wrong, mixed"):
        keep("some_wrong", 1, 4)


@pytest.mark.parametrize("count", [(0, 0), (5, 4), (-1, 4)])
def test_an_impossible_count_is_refused(count):
    with pytest.raises(DataError, match="is no count"):
        keep("mixed", *count)


@pytest.mark.parametrize(
    ("outcome", "expected", "right"),
    [
        pytest.param(Verdict({Task.PROMPT: H, Task.RESPONSE: U}, "", True), (H, U), True, id="both right"),
        pytest.param(Verdict({Task.PROMPT: H, Task.RESPONSE: U}, "", False), (H, U), True, id="right in a loose form"),
        pytest.param(Verdict({Task.PROMPT: H, Task.RESPONSE: H}, "", True), (H, U), False, id="one wrong"),
        pytest.param(Verdict({Task.PROMPT: H, Task.RESPONSE: H}, "", True), (H,), True, id="the known one right"),
        pytest.param(ParseFailure(FailureReason.NO_RESULT), (H, U), False, id="no verdict"),
        pytest.param(ParseFailure(FailureReason.NO_RESULT), (), False, id="no verdict on nothing"),
    ],
)
def test_an_answer_is_right_when_every_known_label_is(outcome, expected, right):
    assert is_correct(outcome, dict(zip(Task, expected, strict=False))) is right


@pytest.mark.parametrize(
    ("rule", "bypass", "ids"),
    [
        pytest.param("all_wrong", False, ["t0", "t3"], id="all wrong"),
        pytest.param("mixed", False, ["t1", "t4"], id="mixed"),
        pytest.param("all_wrong", True, ["t0", "t3", "i"], id="images bypass the filter"),
    ],
)
def test_hard_samples_keep_their_order(rule, bypass, ids):
    hard = select([*TEXTS, IMAGE], COUNTS, 4, rule, limit=None, seed=1, image_bypass=bypass)
    assert [item.id for item in hard] == ids


@pytest.mark.parametrize(
    ("easy", "limit", "ids"),
    [
        pytest.param(0.0, None, ["t0", "t3"], id="hard samples alone"),
        pytest.param(0.5, None, ["t0", "t2", "t3", "i"], id="as many easy ones as hard ones"),
        pytest.param(0.9, None, ["t0", "t2", "t3", "i"], id="no more easy ones than there are"),
    ],
)
def test_easy_samples_are_those_that_are_always_right(easy, limit, ids):
    kept = select([*TEXTS, IMAGE], COUNTS, 4, "all_wrong", limit=limit, seed=1, easy=easy)
    assert [item.id for item in kept] == ids


MANY = [Sample(f"m{index}", "test", "words") for index in range(200)]
NONE_RIGHT = {item.id: 0 for item in MANY}


def test_a_limit_draws_the_same_samples_whatever_their_order():
    drawn = select(MANY, NONE_RIGHT, 4, "all_wrong", limit=50, seed=1)
    again = select(MANY[::-1], NONE_RIGHT, 4, "all_wrong", limit=50, seed=1)
    assert again == drawn[::-1]
    assert [int(item.id[1:]) for item in drawn] == sorted(int(item.id[1:]) for item in drawn)
    assert len(drawn) == 50


def test_a_draw_depends_on_the_seed_and_is_uniform():
    hits = [0] * 200
    for seed in range(40):
        for item in select(MANY, NONE_RIGHT, 4, "all_wrong", limit=100, seed=seed):
            hits[int(item.id[1:])] += 1
    assert 2 <= min(hits) < max(hits) <= 38


def test_a_bad_limit_and_a_missing_count_are_named():
    with pytest.raises(ConfigError, match=r"gr_vl\.mine\.keep=0 must"):
        select(MANY, NONE_RIGHT, 4, "all_wrong", limit=0, seed=1)
    with pytest.raises(DataError, match="sample 'm0' has no answers"):
        select(MANY, {}, 4, "all_wrong", limit=1, seed=1)
