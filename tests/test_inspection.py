"""What `gr-vl check` says of a clip schedule: the curve, the share of still steps, and a warning with its fix."""

import io

import pytest
from rich.console import Console

from gr_vl import compose, inspection, stages
from gr_vl.clipping import ClipSchedule

LINEAR = "gr_vl.clip.kind=linear leaves"


def said(steps, clip):
    console = Console(file=io.StringIO(), width=200)
    inspection.show_clip("rl", clip, steps, console)
    return console.file.getvalue().splitlines()


@pytest.mark.parametrize(
    ("steps", "still", "even"),
    [pytest.param(23, "61%", "13%", id="23 steps"), pytest.param(1000, "93%", "10%", id="1,000 steps")],
)
def test_a_run_that_would_mostly_stand_still_is_warned_about_in_one_line(steps, still, even):
    curve, warning = said(steps, ClipSchedule("paper"))
    assert curve.startswith("rl: clip paper █")
    assert curve.endswith(f"in {steps} steps; {still} of them under 0.02")
    assert warning == (
        f"warning rl: gr_vl.clip.kind=paper leaves {still} of {steps} steps nearly still; {LINEAR} {even}"
    )


def test_where_no_shape_helps_the_range_has_to_grow():
    _, warning = said(20, ClipSchedule("constant", 0.01))
    assert warning.endswith("leaves 100% of 20 steps nearly still; raise gr_vl.clip.epsilon=0.01, the paper's is 0.2")


def test_a_schedule_that_keeps_moving_is_not_warned_about():
    (line,) = said(100, ClipSchedule("cosine"))
    # 0.1 (1 + cos(pi (s - 1) / 99)) is under 0.02 where cos is under -0.8: from s = 79.7 on.
    assert line.endswith("0.200 to 0 in 100 steps; 21% of them under 0.02")


@pytest.mark.parametrize(
    ("stage", "overrides", "before", "after"),
    [
        pytest.param("data", ["model=tiny", "gr_vl.data.train=960"], None, 960, id="the demo's corpus is as asked for"),
        pytest.param("data", ["model=3b"], None, None, id="another corpus is not known yet"),
        pytest.param("mine", ["model=3b", "gr_vl.mine.keep=9600"], 123_000, 9_600, id="mining keeps its limit"),
        # 2,400 pairs are 20% of 12,000.
        pytest.param("concat", ["model=3b", "gr_vl.concat.share=0.2"], 9_600, 12_000, id="concatenation adds pairs"),
        pytest.param("concat", ["model=3b"], None, None, id="to an unknown number an unknown one"),
        pytest.param("sft", ["model=3b"], 9_600, 9_600, id="training adds nothing"),
    ],
)
def test_training_rows_are_counted_from_stage_to_stage(stage, overrides, before, after):
    found = compose.stage("guardreasoner_vl", stage, overrides)
    assert stages.get(found.kind).rows_after(found.config, before) == after


def test_an_upper_bound_of_its_own_is_shown():
    (line,) = said(20, ClipSchedule("constant", epsilon_high=0.28))
    assert "in 20 steps, upwards 1.4 times as far; 0% of them under 0.02" in line
