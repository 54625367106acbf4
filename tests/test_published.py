"""The papers' evaluation: downloads of every benchmark, planted answers, and a report beside every published row."""

import json

import pytest
import source_shapes
from factories import HARMFUL, UNHARMFUL, make_text

from gr_vl import checks, compose, launch
from gr_vl.data import io, sources
from gr_vl.errors import ConfigError, DataError
from gr_vl.evaluation import benchmarks, published
from gr_vl.evaluation.answers import append_answers
from gr_vl.evaluation.report import write_report, write_summary
from gr_vl.evaluation.run_folder import load
from gr_vl.schema import Answer, Task
from gr_vl.stages import lengths

ROWS = 12
H, U = HARMFUL, UNHARMFUL
PAPERS = {"guardreasoner_vl": "GuardReasoner-VL,", "guardreasoner": "GuardReasoner,"}
SIZES = [("guardreasoner_vl", 14), ("guardreasoner", 13)]
RECIPES = pytest.mark.parametrize("recipe", PAPERS)


def stage(recipe, tmp_path, *overrides):
    folders = f"run={tmp_path / 'run'}", f"gr_vl.eval.downloads={tmp_path / 'down'}"
    return compose.stage(recipe, "eval", ["config=benchmarks", "model=tiny", *folders, *overrides])


def named(recipe):
    return list(compose.stage(recipe, "eval", ["config=benchmarks", "model=tiny"]).config.gr_vl.eval.benchmarks)


def rows_of(recipe):
    """The (benchmark, task) that the published tables of a recipe's paper have."""
    return {(n, r.task) for r in benchmarks.published() if r.paper.startswith(PAPERS[recipe]) for n in r.f1}


@pytest.fixture
def downloads(tmp_path):
    """Every benchmark of both papers, each as published, in one folder."""
    for name in published.known_names():
        source_shapes.write(name, tmp_path / "down", ROWS)
    return tmp_path / "down"


def right(labels, recipe):
    if recipe == "guardreasoner":
        words = [labels.get(Task.PROMPT, "unharmful"), labels.get(Task.REFUSAL, "compliance")]
        words.append(labels.get(Task.RESPONSE, "unharmful"))
        lines = zip(("Request", "Completion", "Response"), words, strict=True)
        return "## Reasoning Step 1\nso\n\n---\nAnswers: \n" + "\n".join(f"{name}: {word}" for name, word in lines)
    return make_text(labels.get(Task.PROMPT, U), labels.get(Task.RESPONSE, U))


def answered(recipe, tmp_path, failed=()):
    """A run whose SFT model answers every sample of the corpus right, but for those that were not asked."""
    made = stage(recipe, tmp_path)
    config = made.config.gr_vl
    corpus = made.run / "eval" / "benchmarks.parquet"
    published.write(corpus, config.eval.benchmarks, tmp_path / "down", config.dialect)
    launch._describe(made)
    samples = io.read(corpus)
    answers = [
        Answer(s.id, 0, "", 0, 0, finished=False, failure="too long: 9 tokens")
        if s.id in failed
        else Answer(s.id, 0, right(s.labels, recipe), 5, 3, finished=True)
        for s in samples
    ]
    (made.run / "eval" / "sft").mkdir()
    append_answers(made.run / "eval" / "sft" / "benchmarks.jsonl", answers)
    return made.run, samples


@pytest.mark.parametrize(("recipe", "size"), SIZES)
def test_the_recipe_names_every_benchmark_of_its_paper(recipe, size):
    listed, dialect_tasks = named(recipe), rows_of(recipe)
    assert {name for name, _ in dialect_tasks} == set(listed)
    assert (len(dialect_tasks), len(listed)) == (size, len(set(listed)))


def test_a_benchmark_has_one_name_in_source_registry_and_table():
    for name, task in rows_of("guardreasoner_vl") | rows_of("guardreasoner"):
        source = sources.get(name)
        assert benchmarks.match(source.name, task).name == name
        assert task in source.tasks
        assert source.benchmark
    assert not [name for name in sources.names() if name.startswith("bench_")]


@pytest.mark.parametrize(("recipe", "size"), SIZES)
def test_every_benchmark_stands_beside_every_published_row(recipe, size, downloads, tmp_path):
    run, samples = answered(recipe, tmp_path)
    found = json.loads(write_summary(load(run)).read_text())
    by_row = {(item["benchmark"], item["task"]): item for item in found["benchmarks"]}
    assert set(by_row) == rows_of(recipe)
    assert len(by_row) == size
    for (name, task), item in by_row.items():
        table = {row.guard for row in benchmarks.published() if row.task == task and row.f1.get(name) is not None}
        assert {row["guard"] for row in item["published"]} == table
        assert item["own"]["sft"] == pytest.approx(100)
        assert all(row["gap"]["sft"] == pytest.approx(100 - row["value"]) for row in item["published"])
        assert item["n"] == sum(s.source == name and task in s.labels for s in samples)
    page = write_report(load(run)).read_text()
    for name, task in by_row:
        assert f"<h3>{name}, {task}: beside what was published</h3>" in page
    assert all(f'<th scope="row">{row["guard"]}</th>' in page for i in found["benchmarks"] for row in i["published"])


def test_averages_stand_beside_the_papers_own(downloads, tmp_path):
    run, _ = answered("guardreasoner_vl", tmp_path)
    entries = {(e["paper"][:16], e["task"], e["average"]): e for e in published.averages(load(run).evaluations)}
    entry = entries["GuardReasoner-VL", "response", "all"]
    assert entry["own"] == {"sft": (pytest.approx(100), pytest.approx(100))}
    weighted, plain = entry["rows"]["GuardReasoner 8B"]
    assert (weighted, plain) == (
        pytest.approx(57.24, abs=0.01),
        pytest.approx((85.47 + 70.04 + 87.6 + 94.34 + 78.2) / 6),
    )
    assert entry["rows"]["Aegis Guard 2.0 8B"] == (None, None)
    summary = json.loads(write_summary(load(run)).read_text())
    assert len(summary["benchmark_averages"]) == len(entries)


def test_averages_weight_own_scores_by_the_samples_that_are_here(downloads, tmp_path):
    first = answered("guardreasoner_vl", tmp_path)[1]
    (tmp_path / "run" / "eval" / "sft" / "benchmarks.jsonl").unlink()
    (tmp_path / "run" / "eval" / "sft").rmdir()
    lost = {s.id for s in first if s.source == "HarmBenchResponse" and s.labels.get(Task.RESPONSE) == H}
    run, _ = answered("guardreasoner_vl", tmp_path, lost)
    text = {(e["task"], e["average"]): e for e in published.averages(load(run).evaluations)}["response", "text"]
    # HarmBenchResponse has 0, the four others 100; the samples are as many in each.
    assert text["own"]["sft"] == (pytest.approx(80), pytest.approx(80))


@RECIPES
def test_nothing_is_left_out_though_rows_repeat(recipe, downloads, tmp_path):
    file = downloads / "data/benchmark/0_8_toxic_chat.json"
    rows = json.loads(file.read_text())
    file.write_text(json.dumps([*rows, *rows]))
    _, samples = answered(recipe, tmp_path)
    assert sum(sample.source == "ToxicChat" for sample in samples) == 2 * ROWS


def test_too_long_and_broken_pictures_count_as_unanswered(downloads, tmp_path):
    broken = downloads / "test/HarmImageTest/00000.png"
    broken.write_bytes(broken.read_bytes()[:20])
    samples = answered("guardreasoner_vl", tmp_path)[1]
    pictures = [sample for sample in samples if sample.source == "HarmImageTest"]
    assert (len(pictures), len(pictures[0].images[0]), pictures[0].labels) == (ROWS, 20, {Task.PROMPT: H})
    (tmp_path / "run" / "eval" / "sft" / "benchmarks.jsonl").unlink()
    (tmp_path / "run" / "eval" / "sft").rmdir()
    run, _ = answered("guardreasoner_vl", tmp_path, {pictures[0].id})
    found = json.loads(write_summary(load(run)).read_text())
    (item,) = [i for i in found["benchmarks"] if i["benchmark"] == "HarmImageTest"]
    # Rows 0, 3, 6 and 9 are harmful; the first was not asked, which is a miss.
    assert (item["n"], item["own"]["sft"]) == (ROWS, pytest.approx(100 * 6 / 7))
    assert found["eval"]["sft"]["unanswered"] == 1


def test_a_row_that_is_no_sample_stops_the_reading(downloads, tmp_path):
    file = downloads / "data/benchmark/0_8_toxic_chat.json"
    rows = json.loads(file.read_text())
    rows[4]["output"] = "perhaps"
    file.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"0_8_toxic_chat\.json row 4: output no label .*fetch ToxicChat again"):
        answered("guardreasoner_vl", tmp_path)


@RECIPES
def test_a_missing_download_is_refused_at_start_and_named(recipe, downloads, tmp_path):
    (downloads / "data/benchmark/0_9_safe_rlhf.json").unlink()
    with pytest.raises(ConfigError, match=r"gr_vl\.eval\.downloads=.*SafeRLHF is missing.*SafeRLHF\.json") as refused:
        checks.check(stage(recipe, tmp_path))
    assert "\n" not in str(refused.value)


def test_a_stage_without_a_downloads_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"gr_vl\.eval\.downloads=null must name the folder"):
        checks.check(stage("guardreasoner", tmp_path, "gr_vl.eval.downloads=null"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        pytest.param("[ToxicChat,Nothing]", "'Nothing' is unknown; use some of: ToxicChat, ", id="an unknown name"),
        pytest.param("[ToxicChat,ToxicChat]", "ToxicChat is named twice", id="a name twice"),
    ],
)
def test_a_list_of_benchmarks_that_cannot_be_read_is_refused(names, words, tmp_path):
    with pytest.raises(ConfigError, match=words):
        checks.check(stage("guardreasoner", tmp_path, f"gr_vl.eval.benchmarks={names}"), files=False)


def test_a_benchmark_that_mostly_cannot_be_asked_is_still_scored(downloads, tmp_path, encoder):
    corpus = tmp_path / "corpus.parquet"
    published.write(corpus, ["ToxicChat"], downloads, "guardreasoner_vl")
    lengths_of = sorted(encoder.lengths(io.read(corpus), targets=False))
    limit = lengths_of[1]
    with pytest.raises(DataError, match="rows cannot be used"):
        lengths.fit(corpus, tmp_path, encoder, limit, "key", targets=False)
    kept = lengths.fit(corpus, tmp_path, encoder, limit, "key", targets=False, max_share=1.0)
    assert kept.rows == sum(length <= limit for length in lengths_of)
    assert len(kept.unasked) == ROWS - kept.rows
    assert all(reason.startswith("too long: ") for reason in kept.unasked.values())
