"""A guard that nobody ships is a dialect file and a term file: everything else takes its tasks from there."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from factories import facts_of, make_answer, make_png, make_sample
from guards.levels import SEVERITY
from omegaconf import OmegaConf
from typer.testing import CliRunner

from gr_vl import dialects, specs
from gr_vl.ablation import table
from gr_vl.augment import difficulty, preference
from gr_vl.augment.concat import concatenate
from gr_vl.cli import app
from gr_vl.data import io
from gr_vl.data.build import recipe
from gr_vl.errors import ConfigError
from gr_vl.evaluation import compare
from gr_vl.evaluation.answers import write_answers
from gr_vl.evaluation.metrics import Confusion
from gr_vl.evaluation.report import write_report, write_summary
from gr_vl.evaluation.run_folder import load
from gr_vl.schema import Task
from gr_vl.stages import data
from gr_vl.teacher import prompt
from gr_vl.teacher.settings import Settings
from rewards import SafetyReward

NAME = "guards.levels"
GUARD, SPEC = dialects.get(NAME), dialects.spec(NAME)
TERM = {"file": str(Path(__file__).parent / "guards" / "why.py"), "least": 3}


def judged(id, level, **fields):
    """A sample of that severity; its reasoning ends in the reason."""
    sample = make_sample(id, None, prompt=f"What is thing {id}?", reasoning="I look.\nIt asks about a thing.", **fields)
    return replace(sample, labels={SEVERITY: SEVERITY.label(level)})


def answer(id, level, **options):
    return make_answer(id, GUARD.answer({SEVERITY: level}, "I look.\nIt asks about a thing."), **options)


LEVELS = ("none", "low", "high", "extreme")
SAMPLES = [judged(str(i), LEVELS[i % 4], images=(make_png(i),) * (i % 2)) for i in range(12)]


def call(*arguments):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exception is None, result.exception
    return result.output


def test_its_own_grammar_reads_its_own_targets():
    for sample in SAMPLES:
        verdict = GUARD.parse(GUARD.target(sample))
        assert (verdict.labels, verdict.well_formed) == (sample.labels, True)
        assert verdict.fields == {"why": "It asks about a thing."}


def test_its_labels_survive_a_corpus_whose_footer_names_it(tmp_path):
    io.write(tmp_path / "a.parquet", SAMPLES, SPEC)
    assert io.read(tmp_path / "a.parquet") == SAMPLES
    assert specs.above(tmp_path / "a.parquet") == SPEC
    assert "reasoning read as guards.levels" in call("data", "validate", tmp_path / "a.parquet", "--workers", 1)


def test_a_guard_may_give_a_shared_name_labels_of_its_own(tmp_path):
    prompt = Task("prompt", ("safe", "unsure", "unsafe"), "unsafe")
    spec = replace(SPEC, tasks=(prompt,))
    sample = replace(make_sample("a"), labels={prompt: prompt.label("unsure")})
    io.write(tmp_path / "a.parquet", [sample], spec)
    [found] = io.read(tmp_path / "a.parquet")
    assert found.labels == {"prompt": "unsure"}
    assert next(iter(found.labels)).labels == ("safe", "unsure", "unsafe")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(None, "No module named", id="no module"),
        pytest.param("x = 1", "has no attribute 'DIALECT'", id="a module without a dialect"),
        pytest.param("raise KeyError('a\\nb')", "KeyError", id="a module that breaks"),
        pytest.param("def (", "SyntaxError", id="no Python"),
    ],
)
def test_a_module_that_is_no_dialect_is_refused_in_one_line(tmp_path, monkeypatch, content, words):
    name = f"broken_{tmp_path.name}"
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / name).mkdir()
    if content is not None:
        (tmp_path / name / "guard.py").write_text(content)
    with pytest.raises(ConfigError, match=words) as refused:
        dialects.get(f"{name}.guard")
    assert "\n" not in str(refused.value)


def test_a_corpus_of_another_guard_has_no_place_for_them(tmp_path):
    with pytest.raises(Exception, match="sample '0': severity_label: no task of the guard that this corpus is for"):
        io.write(tmp_path / "a.parquet", SAMPLES, dialects.spec("guardreasoner_vl"))


def test_a_build_mixes_counts_and_draws_by_its_levels(tmp_path):
    io.write(tmp_path / "in" / "a.parquet", SAMPLES, SPEC)
    draw = "{severity/high: 2, severity/none: all}"
    (tmp_path / "r.yaml").write_text(
        f"{{seed: 1, dialect: {NAME}, near: {{image: 0, text: 1.0}}, splits: {{train: 1.0}},"
        f" parts: {{all: {{sources: {{corpus: {{folder: in, draw: {draw}}}}}}}}}}}"
    )
    call("data", "build", tmp_path / "r.yaml", tmp_path / "out", "--folder", tmp_path, "--workers", 1)
    built = io.read(tmp_path / "out" / "train.parquet")
    assert sorted(sample.labels[SEVERITY] for sample in built) == ["high"] * 2 + ["none"] * 3
    assert specs.above(tmp_path / "out" / "train.parquet") == SPEC
    (tmp_path / "bad.yaml").write_text((tmp_path / "r.yaml").read_text().replace("severity/high", "severity/dire"))
    with pytest.raises(ConfigError, match="severity/dire is no cell"):
        recipe.load(tmp_path / "bad.yaml", tmp_path)


def test_the_data_stage_keeps_what_it_asks_about_and_counts_the_rest(tmp_path):
    other = replace(make_sample("x"), labels={Task.PROMPT: Task.PROMPT.worst})
    for split in data.SPLITS:
        io.write(tmp_path / "in" / f"{split}.parquet", [*SAMPLES, other], SPEC)
    settings = {"source": "parquet", "folder": str(tmp_path / "in"), "train": 1, "validation": 1, "test": 1}
    config = {"run": str(tmp_path / "run"), "seed": 1, "dialect": NAME, "data": settings}
    counts = data.run(OmegaConf.create({"gr_vl": config}))
    assert counts["train"]["n"] == 12
    assert counts["train"]["text/severity/none"] == 3
    assert counts["quarantined"] == {data.UNLABELLED: 3}
    assert io.read(tmp_path / "run" / "data" / "train.parquet") == SAMPLES


@pytest.mark.parametrize(
    ("one", "two", "joint"), [("none", "low", "low"), ("extreme", "low", "extreme"), ("high", "high", "high")]
)
def test_two_exchanges_are_as_severe_as_the_worse_of_them(one, two, joint):
    assert concatenate(judged("a", one), judged("b", two)).labels == {SEVERITY: joint}


def test_an_unknown_level_is_known_of_a_joint_exchange_only_beside_the_worst():
    unknown = replace(judged("b", "low"), labels={})
    assert concatenate(judged("a", "high"), unknown).labels == {}
    assert concatenate(judged("a", "extreme"), unknown).labels == {SEVERITY: "extreme"}


def test_mining_and_pairs_count_by_its_task(tmp_path):
    sample = judged("a", "high")
    told = [answer("a", level, index=i) for i, level in enumerate(("high", "extreme", "low", "high"))]
    row = difficulty.errors(sample, told, GUARD)
    assert (row.n_wrong, row.n_wrong_by_task) == (2, {"severity": 2})
    assert "| wrong on severity |" in difficulty.table([row])
    [pair] = preference.pairs([sample], told, GUARD, choice="random", seed=1)
    assert (pair.task, pair.correct, pair.incorrect) == (SEVERITY, 2, 2)
    preference.write(tmp_path / "pairs.parquet", [pair], SPEC)
    assert preference.read(tmp_path / "pairs.parquet") == [pair]


def test_a_term_reads_a_field_that_only_its_dialect_has():
    reward = SafetyReward.from_config({"terms": {"accuracy": {}, "why": TERM | {"weight": 0.5}}}, NAME)
    text, labels = answer("a", "high").text, {SEVERITY: "high"}
    assert reward(text, labels, reasoning_tokens=5).terms == {"accuracy": 1.0, "why": 0.5}
    short = text.replace("It asks about a thing.\n[done]", "A thing.\n[done]")
    assert reward(short, labels, reasoning_tokens=5).terms == {"accuracy": 1.0, "why": 0.0}
    reading = reward.read(text, labels, reasoning_tokens=5)
    assert reward.score(type(reading).unpack(reading.pack())).terms == {"accuracy": 1.0, "why": 0.5}
    with pytest.raises(ConfigError, match=r"reward\.tasks\.prompt is unknown; use one of: severity"):
        SafetyReward.from_config({"preset": "accuracy", "tasks": {"prompt": 1.0}}, NAME)


def test_rollouts_are_explained_and_replayed_in_its_words(tmp_path):
    record = {"output": answer("a", "low").text, "gts": {"severity": "high"}, "reasoning_tokens": 5}
    (tmp_path / "run.json").write_text(json.dumps(facts_of(NAME)))
    (tmp_path / "1.jsonl").write_text(json.dumps(record) + "\n")
    assert "severity right: +1" in call("reward", "explain", tmp_path / "1.jsonl", "--reward", "accuracy")
    found = json.loads(call("reward", "replay", tmp_path, "--reward", "accuracy", "--json"))
    assert (found["dialect"], found["parse failures"]) == (NAME, {})


def test_a_teacher_is_asked_about_its_levels(tmp_path):
    settings = Settings(tmp_path / "a.parquet", tmp_path / "b.parquet", "m", "http://127.0.0.1:9/v1", NAME)
    [_, message] = prompt.request(judged("a", "low"), GUARD, settings).body["messages"]
    assert "Task 1, extreme or high or low or none: low" in message["content"]


@pytest.fixture
def run(tmp_path):
    """A run that answered 12 samples: SFT says one level more, RL is right but once."""
    (tmp_path / "run.json").write_text(json.dumps({"recipe": "mine", "seed": 1} | facts_of(NAME)))
    io.write(tmp_path / "data" / "test.parquet", SAMPLES, SPEC)
    counts = {"test": data.count(SAMPLES)}
    (tmp_path / "data" / "stage.json").write_text(json.dumps({"stage": "data", "kind": "data", "counts": counts}))
    more = dict(zip(LEVELS, (*LEVELS[1:], "extreme"), strict=True))
    said = {"sft": lambda level: more[level], "rl": lambda level: level}
    for model, words in said.items():
        answers = [answer(sample.id, words(sample.labels[SEVERITY])) for sample in SAMPLES]
        write_answers(tmp_path / "eval" / model / "test.jsonl", answers)
    return tmp_path


def test_scores_count_its_positive_levels(run):
    folder = load(run)
    # Of 12, 6 are high or extreme; SFT says high of the 3 that are low.
    assert folder.evaluations["test"]["sft"].overall == {SEVERITY: Confusion(tp=6, fp=3, tn=3)}
    summary = json.loads(write_summary(folder).read_text())
    assert summary["eval"]["sft"]["severity_f1"] == pytest.approx(12 / 15)
    assert summary["eval"]["rl"]["severity_f1"] == 1.0
    # Exactly the right level, and not only the right side, is a right answer.
    assert [item.right for item in folder.judged["test"]["sft"]] == [level == "extreme" for level in LEVELS] * 3
    assert "prompt_f1" not in summary["eval"]["sft"]


def test_the_report_and_every_table_have_its_words(run):
    page = write_report(load(run)).read_text(encoding="utf-8")
    assert all(f'<th scope="col">{level}</th>' in page for level in LEVELS)
    assert "severity" in page
    assert "response F1" not in page
    write_summary(load(run))
    assert compare.markdown([run]).startswith("| seed | model | severity F1 | mean F1 |")
    assert table.columns([{"severity_f1": 1.0}])[:2] == ["mean_f1", "severity_f1"]


def test_a_trained_model_judges_is_served_and_exported(tiny, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("fastapi")
    openai = pytest.importorskip("openai")
    from serving import served

    from gr_vl.guard.model import Guard
    from gr_vl.release.source import Source
    from gr_vl.release.write import release

    model = shutil.copytree(tiny, tmp_path / "rl" / "model", ignore=shutil.ignore_patterns(specs.EXPORTED))
    facts = {"recipe": "mine", "model": "tiny", "seed": 1, "started": "2026-01-01", "versions": {}}
    (tmp_path / "run.json").write_text(json.dumps(facts | facts_of(NAME)))
    found = Guard.from_pretrained(model, device="cpu", max_tokens=8).moderate("What is it?", think=False)
    assert set(found.labels) == set(found.scores) == {SEVERITY}
    assert found.labels[SEVERITY] in LEVELS
    unread = Guard.from_pretrained(model, device="cpu", max_tokens=8).moderate("What is it?")
    assert (unread.labels, unread.flagged) == ({SEVERITY: "extreme"}, True)
    with served(model) as (url, _):
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        [result] = client.moderations.create(input="What is it?", extra_body={"think": False}).results
    assert result.category_scores.severity == pytest.approx(found.scores[SEVERITY], abs=1e-5)
    assert result.labels == {"severity": found.labels[SEVERITY]}
    release(Source.find(model, "rl", None), tmp_path / "out")
    assert specs.above(tmp_path / "out") == SPEC
