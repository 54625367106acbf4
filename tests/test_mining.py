"""Hard-sample mining: which samples are hard, and a draw that order cannot change."""

from collections import Counter

import pytest

from gr_vl.augment.difficulty import Errors
from gr_vl.augment.mining import is_correct, keep, select
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import FailureReason, Label, Modality, ParseFailure, Task, Verdict
from gr_vl.tasks import SHARED

H, U = Label.HARMFUL, Label.UNHARMFUL


def row(id, right, modality=Modality.TEXT):
    """What became of four answers, of which so many were right."""
    return Errors(id, "test", modality, 4, 4 - right, {"prompt": 4 - right}, n_unparsable=0)


ROWS = [row(f"t{index}", right) for index, right in enumerate((0, 1, 4, 0, 3))] + [row("i", 4, Modality.IMAGE)]


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
    assert is_correct(outcome, dict(zip(SHARED, expected, strict=False))) is right


@pytest.mark.parametrize(
    ("rule", "bypass", "ids"),
    [
        pytest.param("all_wrong", False, {"t0", "t3"}, id="all wrong"),
        pytest.param("mixed", False, {"t1", "t4"}, id="mixed"),
        pytest.param("all_wrong", True, {"t0", "t3", "i"}, id="images bypass the filter"),
    ],
)
def test_a_rule_selects_hard_samples(rule, bypass, ids):
    assert select(ROWS, rule, limit=None, seed=1, image_bypass=bypass) == ids


@pytest.mark.parametrize(
    ("easy", "ids"),
    [
        pytest.param(0.0, {"t0", "t3"}, id="hard samples alone"),
        pytest.param(0.5, {"t0", "t2", "t3", "i"}, id="as many easy ones as hard ones"),
        pytest.param(0.9, {"t0", "t2", "t3", "i"}, id="no more easy ones than there are"),
    ],
)
def test_easy_samples_are_those_that_are_always_right(easy, ids):
    assert select(ROWS, "all_wrong", limit=None, seed=1, easy=easy) == ids


MANY = [row(f"m{index}", 0) for index in range(200)]


def test_a_limit_draws_the_same_samples_whatever_their_order():
    drawn = select(MANY, "all_wrong", limit=50, seed=1)
    assert select(MANY[::-1], "all_wrong", limit=50, seed=1) == drawn
    assert len(drawn) == 50


def test_a_draw_depends_on_the_seed_and_is_uniform():
    hits = Counter(id for seed in range(40) for id in select(MANY, "all_wrong", limit=100, seed=seed))
    assert len(hits) == 200
    assert 2 <= min(hits.values()) < max(hits.values()) <= 38


def test_a_bad_limit_is_named():
    with pytest.raises(ConfigError, match=r"gr_vl\.mine\.keep=0 must"):
        select(MANY, "all_wrong", limit=0, seed=1)
