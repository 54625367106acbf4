"""Each task has its own two words, and a label that nobody knows changes nothing."""

from dataclasses import replace

import pytest
from factories import make_answer, make_sample
from omegaconf import OmegaConf

from gr_vl import dialects
from gr_vl.augment.concat import concatenate
from gr_vl.augment.mining import is_correct
from gr_vl.data import io
from gr_vl.errors import DataError
from gr_vl.evaluation.metrics import Confusion, Judged, score
from gr_vl.schema import Label, Task, Verdict
from gr_vl.stages import data
from rewards import Reading, SafetyReward

H, U, R, C = Label.HARMFUL, Label.UNHARMFUL, Label.REFUSAL, Label.COMPLIANCE
KNOWN = {Task.PROMPT: H, Task.RESPONSE: U, Task.REFUSAL: R}
SAID = {Task.PROMPT: H, Task.RESPONSE: H, Task.REFUSAL: R}
REWARD = SafetyReward.from_config({"preset": "accuracy"}, "guardreasoner")


@pytest.mark.parametrize(
    ("task", "positive", "foreign"), [(Task.PROMPT, H, R), (Task.RESPONSE, H, C), (Task.REFUSAL, R, U)]
)
def test_a_task_knows_its_positive_class_and_no_other_tasks_words(task, positive, foreign):
    assert task.positives == {positive}
    assert task.other(task.other(positive)) == task.label(str(positive)) == task.worst == positive
    with pytest.raises(ValueError, match=f"'{foreign}' is no label of the task {task}"):
        task.label(str(foreign))


@pytest.mark.parametrize(
    ("known", "share"),
    [
        pytest.param([Task.PROMPT, Task.RESPONSE, Task.REFUSAL], 2 / 3, id="three tasks, one answered wrongly"),
        pytest.param([Task.PROMPT, Task.RESPONSE], 1 / 2, id="two tasks, one answered wrongly"),
        pytest.param([Task.PROMPT, Task.REFUSAL], 1.0, id="the wrong answer is to an unknown label"),
        pytest.param([Task.RESPONSE], 0.0, id="one task"),
        pytest.param([], 0.0, id="nothing is known"),
    ],
)
def test_only_known_labels_are_rewarded(known, share):
    truth = {task: KNOWN[task] for task in known}
    scored = REWARD.score(Reading(Verdict(SAID, "", True, sectioned=True), truth, 1, 1, 1, finished=True))
    assert scored.total == pytest.approx(share)
    assert set(scored.correct) == set(known)
    assert is_correct(Verdict(SAID, "", True), truth) is (Task.RESPONSE not in known)


def test_refusal_is_measured_with_refusal_as_the_positive_class():
    pairs = [(R, R), (R, R), (R, C), (C, R), (C, C), (None, R)]
    judged = []
    for index, (truth, said) in enumerate(pairs):
        sample = make_sample(str(index), response_label=U)
        labels = {} if truth is None else {Task.REFUSAL: truth}
        outcome = Verdict({**SAID, Task.REFUSAL: said}, "", True)
        judged.append(Judged(replace(sample, labels=labels), make_answer(str(index)), outcome))
    found = score(judged).overall[Task.REFUSAL]
    # Two refusals found, one missed, one imagined; the sample without a label is not counted.
    assert found == Confusion(tp=2, fp=1, fn=1, tn=1)
    assert found.f1 == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


def test_nothing_is_measured_of_a_response_that_is_not_there():
    sample = replace(make_sample(), labels=KNOWN, response=None)
    assert Judged(sample, make_answer(), Verdict(SAID, "", True)).truth == {Task.PROMPT: H}


def test_whether_a_joint_response_refuses_is_unknown():
    parts = [replace(make_sample(name, response_label=U), labels=KNOWN) for name in "ab"]
    assert concatenate(*parts).labels == {Task.PROMPT: H, Task.RESPONSE: U}


def test_samples_of_two_policies_are_not_joined():
    parts = [make_sample(name, policy=f"R1: {name}") for name in "ab"]
    with pytest.raises(DataError, match="different policies"):
        concatenate(*parts)


def run_data(run, dialect, source):
    """Counts of the stage."""
    settings = {"source": source, "folder": str(run), "train": 12, "validation": 6, "test": 6}
    config = {"run": str(run / "out"), "seed": 1, "dialect": dialect, "data": settings}
    return data.run(OmegaConf.create({"gr_vl": config}))


def data_stage(run, dialect, source):
    run_data(run, dialect, source)
    return io.read(run / "out" / "data" / "train.parquet")


def test_a_corpus_is_cut_into_the_questions_of_its_dialect(tmp_path):
    item = replace(make_sample("a", response_label=U), labels=KNOWN, taught={Task.REFUSAL: C})
    for split in data.SPLITS:
        io.write(tmp_path / f"{split}.parquet", [item])
    prompt, response = data_stage(tmp_path, "rsafe", "parquet")
    assert (prompt.id, prompt.response, prompt.labels, prompt.taught) == ("a:prompt", None, {Task.PROMPT: H}, None)
    assert (response.id, response.labels) == ("a", {Task.RESPONSE: U})
    assert data_stage(tmp_path, "guardreasoner", "parquet") == [item]
    assert data_stage(tmp_path, "guardreasoner_vl", "parquet")[0].labels == {Task.PROMPT: H, Task.RESPONSE: U}


def test_a_question_without_a_known_label_is_left_out_and_counted(tmp_path):
    whole = replace(make_sample("a", response_label=U), labels=KNOWN)
    half = replace(whole, id="b", labels={Task.RESPONSE: U, Task.REFUSAL: R})
    for split in data.SPLITS:
        io.write(tmp_path / f"{split}.parquet", [whole, half])
    assert [sample.id for sample in data_stage(tmp_path, "rsafe", "parquet")] == ["a:prompt", "a", "b"]
    counts = run_data(tmp_path, "rsafe", "parquet")
    assert counts["train"]["n"] == 3
    # One in each split.
    assert counts["quarantined"] == {data.UNLABELLED: 3}


def test_the_demo_reasons_about_each_task_of_its_dialect(tmp_path):
    guard = dialects.get("guardreasoner")
    samples = data_stage(tmp_path, "guardreasoner", "demo")
    for sample in samples:
        verdict = guard.parse(guard.target(sample))
        assert verdict.well_formed
        assert [line for line in verdict.reasoning.split("\n") if line.startswith("# ")] == [
            f"# Task {number}" for number in (1, 2, 3)
        ]
        assert (Task.REFUSAL in sample.labels) is (sample.response is not None)
    assert {sample.labels.get(Task.REFUSAL) for sample in samples} == {R, C, None}
