"""Spread over seeds and intervals of paired differences, against numbers worked out by hand."""

import pytest
from factories import make_answer, make_sample, make_text

from gr_vl.ablation.statistics import Difference, Spread, difference, spread
from gr_vl.errors import DataError
from gr_vl.evaluation.metrics import difference_interval, judge
from gr_vl.schema import Label

H, U = Label.HARMFUL, Label.UNHARMFUL


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        pytest.param([], None, id="no run has no spread"),
        pytest.param([0.7], Spread(0.7, None, 1), id="one run has a mean alone"),
        # Deviations -2, -1, 3: (4 + 1 + 9) / 2 = 7.
        pytest.param([1.0, 2.0, 6.0], Spread(3.0, 7**0.5, 3), id="three runs, n - 1 in the denominator"),
    ],
)
def test_spread(values, expected):
    assert spread(values) == expected


def test_three_paired_differences_have_students_interval():
    # Differences 1, 2, 6: mean 3, standard error sqrt(7 / 3) = 1.5275; t of 2 degrees of freedom at 97.5% is 4.3027.
    found = difference({1: 11.0, 2: 22.0, 3: 36.0}, {1: 10.0, 2: 20.0, 3: 30.0})
    assert (found.mean, found.n) == (3.0, 3)
    assert found.low == pytest.approx(3 - 6.5724, abs=1e-3)
    assert found.high == pytest.approx(3 + 6.5724, abs=1e-3)


def test_two_paired_differences_have_a_very_wide_one():
    # Differences 1 and 3: mean 2, standard error 1; t of 1 degree of freedom is 12.706.
    found = difference({1: 2.0, 2: 5.0}, {1: 1.0, 2: 2.0})
    assert (found.low, found.high) == pytest.approx((2 - 12.706, 2 + 12.706), abs=1e-3)


@pytest.mark.parametrize(
    ("values", "reference", "expected"),
    [
        pytest.param({1: 2.0}, {1: 1.5}, Difference(0.5, None, None, 1), id="one seed has no interval"),
        pytest.param({1: 2.0, 2: 3.0}, {2: 1.0}, Difference(2.0, None, None, 1), id="a seed of one alone is left out"),
        pytest.param({1: 2.0}, {2: 1.0}, None, id="no seed in common"),
        pytest.param({1: 2.0, 2: 3.0}, {1: 1.0, 2: 2.0}, Difference(1.0, 1.0, 1.0, 2), id="equal differences"),
    ],
)
def test_differences_need_pairs(values, reference, expected):
    assert difference(values, reference) == expected


def judged(truth, said):
    samples = [make_sample(str(index), label) for index, label in enumerate(truth)]
    answers = [make_answer(str(index), make_text(label)) for index, label in enumerate(said)]
    return judge(samples, answers, "guardreasoner_vl")


def test_a_guard_does_not_differ_from_itself():
    guard = judged([H, U] * 10, [H, H] * 10)
    assert difference_interval(guard, guard) == (0.0, 0.0)


def test_resamples_are_paired():
    # Both miss the same samples but one: the difference in F1 is far surer than either score.
    truth = [H] * 20 + [U] * 20
    better, worse = judged(truth, [H] * 10 + [U] * 30), judged(truth, [H] * 9 + [U] * 31)
    low, high = difference_interval(better, worse)
    # One discordant sample is a Poisson count of 1, at most 5.57 with 97.5% confidence: 5.57 (2/3 - 18/29) = 0.26.
    assert -1e-9 <= low <= high == pytest.approx(0.26, abs=0.04)
    # 2/3 against 18/29.
    assert low <= 2 / 3 - 18 / 29 <= high
    assert difference_interval(worse, better) == pytest.approx((-high, -low))


def test_without_a_harmful_sample_there_is_no_interval():
    assert difference_interval(judged([U], [U]), judged([U], [H])) is None


def test_guards_that_answered_different_samples_are_not_compared():
    with pytest.raises(DataError, match="different samples"):
        difference_interval(judged([H, U], [H, U]), judged([H], [H]))
