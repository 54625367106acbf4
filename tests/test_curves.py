import json

import pytest

from gr_vl.evaluation.curves import read_metrics, smooth


def write(path, *rows):
    path.write_text("".join(json.dumps({"step": step, "data": data}) + "\n" for step, data in rows))


def test_every_metric_by_rising_step(tmp_path):
    write(tmp_path / "metrics.jsonl", (2, {"loss": 1}), (1, {"loss": 2.5, "lr": 0.1}))
    assert read_metrics(tmp_path) == {"loss": [(1, 2.5), (2, 1.0)], "lr": [(1, 0.1)]}


def test_a_later_file_overrides_the_steps_that_a_resumed_run_repeated(tmp_path):
    write(tmp_path / "metrics.jsonl", (1, {"loss": 1.0}), (2, {"loss": 2.0, "lr": 0.5}))
    write(tmp_path / "metrics.1.jsonl", (2, {"loss": 20.0}), (3, {"loss": 30.0}))
    assert read_metrics(tmp_path) == {"loss": [(1, 1.0), (2, 20.0), (3, 30.0)], "lr": [(2, 0.5)]}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("metrics", "metrics.2", "metrics.10"), id="numbers count as numbers"),
        pytest.param(("metrics-0001", "metrics-0002", "metrics-0010"), id="padded numbers"),
        pytest.param(("metrics_a", "metrics_b", "metrics_c"), id="letters"),
    ],
)
def test_files_are_read_in_name_order(tmp_path, names):
    for value, name in enumerate(names):
        write(tmp_path / f"{name}.jsonl", (1, {"loss": value}))
    assert read_metrics(tmp_path) == {"loss": [(1, 2.0)]}


def test_torn_lines_and_values_that_cannot_be_drawn_are_left_out(tmp_path):
    write(tmp_path / "metrics.jsonl", (1, {"a": 1.0, "b": float("nan"), "c": "text", "d": True, "e": None}))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('\n[]\n{"data": {}}\n{"step": 2, "data": {"a": 1')
    assert read_metrics(tmp_path) == {"a": [(1, 1.0)]}


def test_a_stage_without_files_has_no_metrics(tmp_path):
    assert read_metrics(tmp_path) == {}
    assert read_metrics(tmp_path / "nothing") == {}


def test_smoothing_keeps_steps_and_straight_lines():
    curve = [(step, 4.0 * step) for step in range(10, 20)]
    assert smooth(curve, 5) == curve
    assert smooth([], 3) == []
