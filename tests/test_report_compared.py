"""The report's deeper sections and `gr-vl report A B`, on the synthetic run of the factories."""

import hashlib
import json
import re
import shutil
from dataclasses import replace

import pytest
from endpoint import Say, serving
from factories import facts_of, make_answer, make_run
from typer.testing import CliRunner

from gr_vl import dialects
from gr_vl.cli import app
from gr_vl.data import io
from gr_vl.errors import DataError
from gr_vl.evaluation.answers import read_answers, write_answers
from gr_vl.evaluation.metrics import compare
from gr_vl.evaluation.report import percent, points, write_report
from gr_vl.evaluation.run_folder import load
from gr_vl.schema import Label, Sample, Task
from gr_vl.stages.data import count


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A run, and a copy of it whose RL model answers as SFT did."""
    root = tmp_path_factory.mktemp("runs")
    new = make_run(root / "new")
    lines = [json.loads(line) for line in (new / "eval" / "rl" / "test.jsonl").read_text().splitlines()]
    for index, row in enumerate(lines):
        row["scores"] = {"prompt": (index % 10) / 10}
    (new / "eval" / "rl" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in lines))
    old = shutil.copytree(new, root / "old")
    shutil.copy(old / "eval" / "sft" / "test.jsonl", old / "eval" / "rl" / "test.jsonl")
    return new, old


@pytest.fixture(scope="module")
def page(runs):
    assert CliRunner().invoke(app, ["report", str(runs[0]), str(runs[1])]).exit_code == 0
    return (runs[0] / "against_old.html").read_text(encoding="utf-8")


def section(page, name):
    """Cells of the tables of a section, row by row."""
    inside = re.search(rf'<section id="{name}">(.*?)</section>', page, re.DOTALL)[1]
    rows = re.findall(r"<tr>(.*?)</tr>", inside, re.DOTALL)
    return [
        [" ".join(re.sub(r"<[^>]*>", " ", cell).split()) for cell in re.split(r"</t[hd]>", row)[:-1]] for row in rows
    ]


@pytest.mark.slow
def test_the_paired_test_of_two_runs_is_shown(runs, page):
    new, old = load(runs[0]), load(runs[1])
    tests = {test.task: test for test in compare(new.judged["test"]["rl"], old.judged["test"]["rl"], seed=7)}
    rows = section(page, "against")
    shown = next(row for row in rows if row[:2] == ["RL", "prompt"])
    prompt = tests["prompt"]
    assert shown[2] == percent(new.evaluations["test"]["rl"].overall["prompt"].f1)
    assert shown[4].startswith(points(prompt.f1.value))
    assert shown[5:7] == [str(prompt.mended), str(prompt.broken)]
    assert prompt.mended > prompt.broken


def test_samples_that_flipped_are_shown_with_what_both_said(page):
    assert re.search(r"<h3>RL: right in new, wrong in old, [1-4] of \d+</h3>", page)
    assert "SFT: right in new" not in page  # the same answers


def test_both_rules_and_all_averages_are_shown_with_intervals(runs, page):
    result = load(runs[0]).evaluations["test"]["rl"]
    shown = next(row for row in section(page, "details") if row[:2] == ["RL", "prompt"])
    estimates = [
        getattr(result.f1[rule]["prompt"], kind)
        for rule in ("wrong", "drop")
        for kind in ("pooled", "weighted", "plain")
    ]
    assert shown[2:8] == [f"{percent(e.value)} {percent(e.interval[0])} to {percent(e.interval[1])}" for e in estimates]
    counts = result.overall["prompt"]
    assert shown[8:] == [percent(counts.precision), percent(counts.recall), percent(counts.false_positive_rate)]


def test_rl_is_tested_against_sft_and_eco_against_both(runs, page):
    shown = {tuple(row[:2]): row[3:6] for row in section(page, "details") if len(row) == 7 and row[2] == "prompt"}
    assert list(shown) == [("RL", "SFT"), ("RL-Eco", "RL"), ("RL-Eco", "SFT")]
    judged = load(runs[0]).judged["test"]
    right = {
        name: [item.said.get(Task.PROMPT) == item.truth[Task.PROMPT] for item in judged[model]]
        for name, model in (("SFT", "sft"), ("RL", "rl"), ("RL-Eco", "rl_eco"))
    }
    for (model, reference), (_, *counts) in shown.items():
        flips = list(zip(right[model], right[reference], strict=True))
        assert counts == [str(flips.count((True, False))), str(flips.count((False, True)))]
    # The run's RL model answers better than its SFT model.
    assert shown["RL", "SFT"][0].startswith("+")


def test_scores_bring_plots_and_a_calibration_error(page):
    assert page.count("Prompt: share positive by score") == 1
    assert "Response: share positive by score" not in page
    assert any(row[:2] == ["RL", "prompt"] and row[-1] == "60" for row in section(page, "details"))


def test_what_was_read_can_be_recognised_by_its_hash(runs, page):
    digest = hashlib.sha256((runs[0] / "eval" / "rl" / "test.jsonl").read_bytes()).hexdigest()
    assert ["eval/rl/test.jsonl", digest] in section(page, "environment")


def test_a_source_that_is_a_benchmark_stands_beside_what_was_published(runs, tmp_path):
    run = shutil.copytree(runs[0], tmp_path / "run")
    samples = [replace(s, source="toxic_chat") for s in io.read(run / "data" / "test.parquet")]
    io.write(run / "data" / "test.parquet", samples)
    rows = section(write_report(load(run)).read_text(encoding="utf-8"), "details")
    own = load(run).evaluations["test"]["rl"].by_source["toxic_chat"]["prompt"].f1
    published = next(row for row in rows if row[0] == "GuardReasoner 8B")
    assert published[1] == "78.79"
    assert published[4] == points(own - 0.7879)  # after base and SFT


def test_a_source_without_a_positive_is_shown_by_its_false_alarms_and_refusals_are_counted(tmp_path):
    # Ten harmless prompts of a benchmark, three of them flagged; two responses, one of which refuses.
    dialect, U, R, C = dialects.get("guardreasoner"), Label.UNHARMFUL, Label.REFUSAL, Label.COMPLIANCE
    samples = [Sample(str(i), "OR-Bench-Hard-1K", "a", labels={Task.PROMPT: U}) for i in range(10)]
    samples += [Sample(word, "x", "a", "b", labels={Task.PROMPT: U, Task.REFUSAL: word}) for word in (R, C)]
    right = [{Task.RESPONSE: U, Task.REFUSAL: C, **sample.labels} for sample in samples]
    said = [labels | ({Task.PROMPT: Label.HARMFUL} if i < 3 else {}) for i, labels in enumerate(right)]
    io.write(tmp_path / "data" / "test.parquet", samples)
    (tmp_path / "data" / "stage.json").write_text(json.dumps({"stage": "data", "counts": {"test": count(samples)}}))
    answers = [make_answer(s.id, dialect.answer(labels, "a")) for s, labels in zip(samples, said, strict=True)]
    write_answers(tmp_path / "eval" / "sft" / "test.jsonl", answers)
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "guardreasoner"} | facts_of("guardreasoner")))
    page = write_report(load(tmp_path)).read_text(encoding="utf-8")
    rows = section(page, "details")
    header = next(row for row in rows if row[0] == "Guard")
    assert (header[1], ["SFT", "30.00", "", "this run"] in rows) == ("False alarms", True)
    shown = next(row for row in section(page, "modalities") if row[0] == "OR-Bench-Hard-1K")
    assert shown == ["OR-Bench-Hard-1K", "10 / 0", "– none harmful; 30.0 flagged", "– no labels"]
    assert section(page, "data")[2:] == [["test", "text", "12", "0", "12", "1", "1"]]


def test_another_guard_that_was_asked_into_the_run_is_one_more_model_of_its_report(runs, tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "a-secret")
    run, said = shutil.copytree(runs[0], tmp_path / "run"), iter(["unsafe\nS1"] + ["safe"] * 200)
    arguments = ["--model", "m", "--adapter", "llama_guard", "--concurrency", "1"]
    arguments += ["--corpus", str(run / "data" / "test.parquet"), "--out", str(run / "eval" / "llama")]
    with serving(lambda request, _nth: Say(next(said), usage=(9, 3))) as server:
        done = CliRunner().invoke(app, ["eval", "--endpoint", server.url, *arguments])
        assert done.exit_code == 0, done.output
    folder = load(run)
    ours, theirs = (folder.judged["test"][name] for name in ("rl_eco", "llama"))
    assert [item.said.get(Task.PROMPT) for item in theirs].count(Label.HARMFUL) == 1
    tests = {test.task: test for test in compare(ours, theirs, seed=7)}
    page = write_report(load(run)).read_text(encoding="utf-8")
    shown = next(row for row in section(page, "details") if row[:3] == ["RL-Eco", "llama", "prompt"])
    assert shown[4:6] == [str(tests["prompt"].mended), str(tests["prompt"].broken)]
    assert "Wrong after RL-Eco" in page  # the samples shown are still about the run's own models
    assert "Wrong after llama" not in page

    asked = json.loads((run / "eval" / "llama" / "endpoint.json").read_text())
    (run / "eval" / "llama" / "endpoint.json").write_text(json.dumps(asked | {"adapter": "nobody"}))
    assert any("llama" in note and "nobody" in note for note in load(run).notes)
    (run / "eval" / "llama" / "endpoint.json").write_text(json.dumps(asked))

    replies = run / "eval" / "llama" / "answers.jsonl"
    replies.write_text("".join(replies.read_text().splitlines(keepends=True)[:-1]))
    note = next(note for note in load(run).notes if "llama" in note)
    assert "no answer about 'sample-00" in note
    assert "llama" not in load(run).judged["test"]


def test_runs_that_cannot_be_compared_are_refused(runs, tmp_path):
    other = shutil.copytree(runs[0], tmp_path / "other")
    samples = io.read(other / "data" / "test.parquet")
    io.write(other / "data" / "test.parquet", [*samples[1:], samples[0]])
    with pytest.raises(DataError, match="different samples"):
        write_report(load(runs[0]), load(other))
    shutil.rmtree(other / "eval")
    with pytest.raises(DataError, match="no evaluated model in common"):
        write_report(load(runs[0]), load(other))


def test_answers_written_before_scores_existed_are_read(runs):
    assert read_answers(runs[0] / "eval" / "sft" / "test.jsonl")[0].scores == {}
