"""The table of several seeds: scores by model, differences with mean and spread."""

import json

import pytest
from factories import write_json

from gr_vl.errors import DataError
from gr_vl.evaluation.compare import markdown


def write_run(folder, seed, **models):
    rows = {
        name: {
            "prompt_f1": f1,
            "response_f1": f1,
            "mean_f1": f1,
            "mean_output_tokens": tokens,
            "parse_failure_rate": 0.0,
            "n": 10,
        }
        for name, (f1, tokens) in models.items()
    }
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps({"seed": seed, "eval": rows}))
    return folder


def test_differences_are_in_points_and_percent_with_mean_and_spread(tmp_path):
    runs = [
        write_run(tmp_path / "a", 1, sft=(0.70, 90.0), rl=(0.80, 80.0), rl_eco=(0.79, 60.0)),
        write_run(tmp_path / "b", 2, sft=(0.70, 90.0), rl=(0.76, 80.0), rl_eco=(0.77, 64.0)),
    ]
    text = markdown(runs)
    # +10 and +6 points: mean 8, standard deviation 2.83; tokens 80 to 60 and 64: -25% and -20%.
    assert "| rl against sft: mean F1, points | +10.0, +6.0 | +8.0 ± 2.8 |" in text
    assert "| rl_eco against rl: mean F1, points | -1.0, +1.0 | +0.0 ± 1.4 |" in text
    assert "| rl_eco against rl: output tokens | -25.0 %, -20.0 % | -22.5 ± 3.5 % |" in text
    assert "| 2 | rl | 76.0 | 76.0 | 76.0 | 80.0 | 0.0 |" in text


def test_preference_learning_is_measured_against_its_start_with_the_third_task(tmp_path):
    run = write_run(tmp_path / "a", 1, sft=(0.70, 90.0), dpo=(0.75, 81.0))
    summary = json.loads((run / "summary.json").read_text())
    for row, f1 in zip(summary["eval"].values(), (None, 0.9), strict=True):
        row["refusal_f1"] = f1
    write_json(run / "summary.json", summary)
    text = markdown([run])
    assert "| seed | model | prompt F1 | response F1 | refusal F1 | mean F1 | tokens | unparsable |" in text
    assert "| 1 | sft | 70.0 | 70.0 | - | 70.0 | 90.0 | 0.0 |" in text
    assert "| 1 | dpo | 75.0 | 75.0 | 90.0 | 75.0 | 81.0 | 0.0 |" in text
    assert "| dpo against sft: mean F1, points | +5.0 | +5.0 |" in text
    assert "| dpo against sft: output tokens | -10.0 % | -10.0 % |" in text


def test_a_model_that_was_not_evaluated_is_left_out(tmp_path):
    text = markdown([write_run(tmp_path / "a", 1, sft=(0.7, 90.0), rl=(0.8, 80.0))])
    assert "rl_eco" not in text


def test_without_the_third_task_there_is_no_column_of_it(tmp_path):
    assert "refusal" not in markdown([write_run(tmp_path / "a", 1, sft=(0.7, 90.0))])


def test_a_run_without_a_summary_is_named(tmp_path):
    with pytest.raises(DataError, match=r"summary\.json: no such file"):
        markdown([tmp_path])
