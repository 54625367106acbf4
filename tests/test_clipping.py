"""The clip range against hand-computed values."""

import math

import pytest

from gr_vl.clipping import KINDS, ClipSchedule
from gr_vl.errors import ConfigError

# 0.2 * 22 * 21 * ... / 23^s to three digits.
PAPER_23 = [
    0.191,
    0.175,
    0.152,
    0.125,
    0.0982,
    0.0726,
    0.0505,
    0.0329,
    0.02,
    0.0113,
    0.0059,
    0.00283,
    0.00123,
    0.000481,
]


@pytest.mark.parametrize(("step", "value"), [(index + 1, value) for index, value in enumerate(PAPER_23)])
def test_the_papers_run_of_23_steps(step, value):
    assert ClipSchedule().at(step, 23) == pytest.approx(value, rel=0.005)


@pytest.mark.parametrize(
    ("schedule", "first", "middle", "last"),
    [
        pytest.param(ClipSchedule("paper"), 0.2 * 10 / 11, 0.2 * 10 * 9 * 8 * 7 * 6 * 5 / 11**6, 0.0, id="paper"),
        pytest.param(ClipSchedule("constant", 0.3), 0.3, 0.3, 0.3, id="constant"),
        pytest.param(ClipSchedule("linear", 0.2, 0.1), 0.2, 0.15, 0.1, id="linear"),
        pytest.param(ClipSchedule("cosine", 0.2, 0.1), 0.2, 0.15, 0.1, id="cosine"),
    ],
)
def test_first_middle_and_last_of_eleven_steps(schedule, first, middle, last):
    assert [schedule.at(step, 11) for step in (1, 6, 11)] == pytest.approx([first, middle, last])


def test_a_cosine_leaves_slowly():
    assert ClipSchedule("cosine").at(2, 5) == pytest.approx(0.1 * (1 + math.sqrt(0.5)))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("total", [1, 2, 23, 1000])
def test_the_range_never_grows_and_stays_below_epsilon(kind, total):
    curve = ClipSchedule(kind).curve(total)
    assert len(curve) == total
    assert curve == sorted(curve, reverse=True)
    assert 0 <= curve[-1] <= curve[0] <= 0.2


@pytest.mark.parametrize(("total", "percent"), [(23, 61), (100, 80), (1000, 93)])
def test_the_papers_schedule_is_not_scale_free(total, percent):
    assert round(100 * ClipSchedule().still(total)) == percent


@pytest.mark.parametrize(
    ("schedule", "share"),
    [
        # 0.2 x 7/7, 6/7, ..., 1/7 = 0.029, 0: the last alone is under 0.02.
        pytest.param(ClipSchedule("linear"), 1 / 8, id="a line is still at its end"),
        pytest.param(ClipSchedule("linear", 0.2, 0.05), 0.0, id="a line that ends wide never is"),
        pytest.param(ClipSchedule("constant", 0.01), 1.0, id="a narrow range always is"),
        pytest.param(ClipSchedule("constant", 0.01, epsilon_high=0.03), 0.0, id="the wider bound decides"),
    ],
)
def test_the_share_of_steps_that_stand_still(schedule, share):
    assert schedule.still(8) == share


@pytest.mark.parametrize(
    ("schedule", "bounds"),
    [
        pytest.param(ClipSchedule("constant"), [(0.2, 0.2)] * 3, id="one epsilon gives equal bounds"),
        pytest.param(ClipSchedule("constant", 0.2, epsilon_high=0.28), [(0.2, 0.28)] * 3, id="clip-higher of DAPO"),
        pytest.param(ClipSchedule("constant", 0.2, epsilon_high=0.1), [(0.2, 0.1)] * 3, id="a lower upper bound"),
        # 0.2, 0.15, 0.1 and three halves of each.
        pytest.param(
            ClipSchedule("linear", 0.2, 0.1, 0.3), [(0.2, 0.3), (0.15, 0.225), (0.1, 0.15)], id="both shrink alike"
        ),
        # 0.2 x 2/3, x 1/3, x 0.
        pytest.param(
            ClipSchedule("paper", epsilon_high=0.4),
            [(0.4 / 3, 0.8 / 3), (0.4 / 9, 0.8 / 9), (0.0, 0.0)],
            id="the paper's shape for both",
        ),
    ],
)
def test_the_two_bounds_of_three_steps(schedule, bounds):
    seen = [bound for step in (1, 2, 3) for bound in schedule.bounds(step, 3)]
    assert seen == pytest.approx([bound for pair in bounds for bound in pair])


@pytest.mark.parametrize("step", [-1, 0, 24])
def test_a_step_outside_of_the_run_is_refused(step):
    with pytest.raises(ValueError, match=r"outside of 1\.\.23"):
        ClipSchedule().at(step, 23)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"kind": "square"}, "paper, constant, linear, cosine", id="an unknown kind"),
        pytest.param({"epsilon": 0.0}, "epsilon=0.0", id="no range"),
        pytest.param({"epsilon": 1.0}, "epsilon=1.0", id="a range of one"),
        pytest.param({"epsilon": math.nan}, "epsilon=nan", id="not a number"),
        pytest.param({"kind": "linear", "final": 0.3}, "final=0.3", id="an end above the start"),
        pytest.param({"kind": "linear", "final": -0.1}, "final=-0.1", id="a negative end"),
        pytest.param({"epsilon_high": 0.0}, "epsilon_high=0.0", id="no upper range"),
        pytest.param({"epsilon_high": math.nan}, "epsilon_high=nan", id="an upper bound that is no number"),
        pytest.param({"epsilon_high": "wide"}, "epsilon_high=wide", id="an upper bound in words"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        ClipSchedule(**settings)


def test_an_upper_bound_may_be_a_whole_number():
    assert ClipSchedule("constant", 0.2, epsilon_high=1).epsilon_high == 1
