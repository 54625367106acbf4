"""RL whose sampler works while the trainer does, for real."""

import json

import pytest
from launching import DIRECT, RL, do

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]


def test_it_trains_on_answers_of_older_weights_within_the_clip_range_of_its_own_step(fresh):
    do("rl", fresh, *RL, *DIRECT, "+rl_variant=colocate_async", "trainer.total_training_steps=4")
    rows = [json.loads(line) for line in (fresh / "rl" / "metrics-0.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    seen = [row["data"] for row in rows]
    # By hand: 0.2 x 3/4, x 2/4, x 1/4, x 0/4.
    assert [data["actor/clip_range"] for data in seen] == pytest.approx([0.15, 0.075, 0.01875, 0.0], abs=1e-9)
    # The next batch is begun before the weights are new.
    assert max(data["training/off_policy/trajectory_staleness_worst/max"] for data in seen) == 1
    # There is a gap between old and new weights, and it is no alarm.
    assert max(data["belief/log_prob_gap_mean"] for data in seen) > 0
    assert all("belief/red" not in data for data in seen)
