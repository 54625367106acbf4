import base64
import io
import json
import re
import shutil
import subprocess
import sys

import pytest
from factories import EXPECTED, HOSTILE, facts_of, make_answer, make_png, make_run, make_text, write_json
from markupsafe import escape
from PIL import Image
from typer.testing import CliRunner

from gr_vl import dialects
from gr_vl.cli import app
from gr_vl.data import io as corpora
from gr_vl.errors import DataError
from gr_vl.evaluation import transcripts
from gr_vl.evaluation.answers import append_answers, read_answers, write_answers
from gr_vl.evaluation.metrics import evaluate
from gr_vl.evaluation.report import duration, percent, points, write_report, write_summary
from gr_vl.evaluation.run_folder import load
from gr_vl.schema import Label, Task


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def page(whole):
    return write_report(load(whole)).read_text(encoding="utf-8")


@pytest.fixture
def run(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "run")


def cells(page, table=0):
    """The text of a table, row by row."""
    rows = re.findall(r"<tr>(.*?)</tr>", re.findall(r"<table>.*?</table>", page, re.DOTALL)[table], re.DOTALL)
    return [[re.sub(r"<[^>]*>|\s+", " ", cell).split() for cell in re.split(r"</t[hd]>", row)[:-1]] for row in rows]


def test_the_numbers_shown_are_the_metrics(whole, page):
    samples = corpora.read(whole / "data" / "test.parquet")
    rows = {row[0][0]: row for row in cells(page)[1:]}
    assert list(rows) == ["Base", "SFT", "RL", "RL-Eco"]
    sft = evaluate(samples, read_answers(whole / "eval" / "sft" / "test.jsonl"), dialect="guardreasoner_vl", seed=7)
    for name, folder in (("SFT", "sft"), ("RL-Eco", "rl_eco")):
        result = evaluate(
            samples, read_answers(whole / "eval" / folder / "test.jsonl"), dialect="guardreasoner_vl", seed=7
        )
        assert rows[name][1] == [percent(result.overall[Task.PROMPT].f1)]
        assert rows[name][2] == [percent(result.overall[Task.RESPONSE].f1)]
        low, high = result.mean_f1_interval
        assert rows[name][3] == [percent(result.mean_f1), percent(low), "to", percent(high)]
        assert rows[name][4] == ["–" if folder == "sft" else points(result.mean_f1 - sft.mean_f1)]
        assert rows[name][5] == [f"{result.mean_output_tokens:.1f}"]
        assert rows[name][6][0] == percent(result.parse_failure_rate)
        assert rows[name][7] == [percent(result.not_well_formed)]


def test_hostile_text_is_escaped_wherever_it_is_shown(page):
    assert page.count(str(escape(HOSTILE))) >= 6  # source twice, prompt, response, and the reasoning of each model
    assert "<script" not in page
    assert "onerror=alert(1)>" not in page


def test_the_page_needs_nothing_but_itself(page):
    assert not re.search(r"https?:|//[a-z]", page)
    assert all(url.startswith("data:image/png;base64,") for url in re.findall(r'src="([^"]*)', page))
    assert all(url.startswith("#") for url in re.findall(r'href="([^"]*)', page))


def test_identifiers_are_unique_and_every_reference_has_its_target(page):
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) != set()
    for pair in re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page):
        assert "".join(pair) in ids


@pytest.mark.parametrize(
    "title",
    ["Training loss", "Reward", "Answer length (tokens)", "Clip range", "Entropy", "Clip fraction"],
)
def test_a_metric_that_was_logged_is_plotted(page, title):
    assert f"<figcaption>{title}</figcaption><svg" in page


def test_a_metric_that_was_not_logged_is_not(page):
    assert "Gradient norm" not in page


def test_a_whole_run_has_nothing_missing(page):
    assert "partial" not in page


def test_missing_parts_are_named(run):
    for name in ("rl_eco", "concat"):
        shutil.rmtree(run / name)
    write_json(run / "run.json", facts_of("guardreasoner_vl") | EXPECTED)
    (run / "eval" / "rl" / "test.jsonl").write_text("")
    page = write_report(load(run)).read_text(encoding="utf-8")
    assert "Stages not run or not finished: concat, rl_eco." in page
    assert "Corpora not there: concatenated." in page
    assert "Model rl is not scored on test: 60 of 60 samples have no answer" in page
    assert "<svg" in page


def test_answers_of_a_guard_that_nothing_names_are_not_read(run):
    (run / "run.json").unlink()
    page = write_report(load(run)).read_text(encoding="utf-8")
    assert "run.json is missing" in page
    assert "Model sft is not scored on test: run.json names no guard" in page


def test_an_empty_run_still_has_a_page_and_a_summary(tmp_path):
    page = write_report(load(tmp_path)).read_text(encoding="utf-8")
    assert "No model has been evaluated." in page
    assert "run.json is missing" in page
    assert "Stages not run" not in page  # nothing says which ones there should be
    assert json.loads(write_summary(load(tmp_path)).read_text()) == {
        "stages": {},
        "eval": {},
        "seed": None,
        "versions": {},
        "seconds": 0.0,
    }


def test_the_summary_is_the_contract(whole):
    summary = json.loads(write_summary(load(whole)).read_text())
    assert list(summary) == ["stages", "eval", "seed", "versions", "seconds"]
    assert list(summary["stages"]) == ["data", "base", "sft", "mine", "concat", "rl", "rl_eco", "eval"]
    assert summary["stages"]["base"]["seconds"] == 30.5
    assert summary["stages"]["base"]["peak_rss_gb"] == 1.25
    assert summary["seconds"] == 654.0  # 8 stages of 10.0 + 20.5 i seconds
    assert summary["seed"] == 7
    assert summary["eval"]["rl"]["n"] == 60
    assert list(summary["eval"]) == ["base", "sft", "rl", "rl_eco"]
    assert set(summary["eval"]["rl"]) == {
        "prompt_f1",
        "response_f1",
        "mean_f1",
        "prompt_accuracy",
        "response_accuracy",
        "accuracy",
        "mean_output_tokens",
        "parse_failure_rate",
        "n",
    }


def test_a_run_of_another_recipe_is_whole_with_the_stages_of_that_recipe(run):
    for name in ("concat", "rl", "rl_eco", "eval/rl", "eval/rl_eco"):
        shutil.rmtree(run / name)
    names = ("data", "base", "subset", "sft", "mine", "pairs", "dpo", "eval")
    expected = {"stages": {name: name for name in names}, "models": {"base": "base", "sft": "sft", "dpo": "dpo"}}
    write_json(run / "run.json", {"recipe": "mine"} | facts_of("guardreasoner_vl") | expected)
    shutil.copytree(run / "eval" / "sft", run / "eval" / "dpo")
    for name in ("subset", "pairs", "dpo"):
        write_json(run / name / "stage.json", {"stage": name, "seconds": 1})
    lines = [{"step": i, "data": {"dpo/loss": 0.7, "dpo/margin": 0.1 * i, "dpo/accuracy": 0.9}} for i in range(1, 4)]
    (run / "dpo" / "metrics-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    page = write_report(load(run)).read_text(encoding="utf-8")
    assert [row[0][0] for row in cells(page)[1:]] == ["Base", "SFT", "DPO"]
    assert all(f"<figcaption>{title}</figcaption><svg" in page for title in ("DPO loss", "Margin"))
    assert "<figcaption>Pairs told apart (share)</figcaption><svg" in page
    assert "partial" not in page
    stages = list(json.loads(write_summary(load(run)).read_text())["stages"])
    assert stages == ["data", "base", "subset", "sft", "mine", "pairs", "dpo", "eval"]
    shutil.rmtree(run / "dpo")
    page = write_report(load(run)).read_text(encoding="utf-8")
    assert "Stages not run or not finished: dpo." in page
    assert "No training metrics of: DPO." in page


def test_unknown_models_and_stages_follow_the_known_ones(run):
    shutil.copytree(run / "eval" / "sft", run / "eval" / "a_dpo")
    write_json(run / "a_dpo" / "stage.json", {"stage": "a_dpo", "seconds": 1})
    summary = json.loads(write_summary(load(run)).read_text())
    assert list(summary["eval"])[-1] == "a_dpo"
    assert list(summary["stages"])[-1] == "a_dpo"
    assert "a_dpo" in write_report(load(run)).read_text(encoding="utf-8")


def test_the_rule_for_unparsable_answers_comes_from_the_run(run):
    meta = json.loads((run / "run.json").read_text())
    before = load(run).evaluations["test"]["base"].overall[Task.PROMPT].n
    write_json(run / "run.json", meta | {"unparsable": "drop"})
    assert load(run).evaluations["test"]["base"].overall[Task.PROMPT].n < before


def test_a_broken_file_is_named(run):
    (run / "sft" / "stage.json").write_text("{")
    with pytest.raises(DataError, match=r"sft/stage\.json: not JSON"):
        write_report(load(run))
    with pytest.raises(DataError, match="no such run folder"):
        write_summary(load(run / "nothing"))


def test_text_without_an_encoding_does_not_break_the_page(run):
    first = load(run).judged["test"]["rl"][0].sample.id
    append_answers(run / "eval/rl/test.jsonl", [make_answer(first, make_text(Label.HARMFUL, reasoning="\ud800 $x$"))])
    assert "? $x$" in write_report(load(run)).read_text(encoding="utf-8")


def test_about_a_dozen_samples_each_once_and_flips_first(whole):
    groups = transcripts.choose(load(whole).judged["test"])
    chosen = [id for group in groups for id in group.samples]
    assert groups[0].title == "Wrong after SFT, right after RL"
    assert all(not row["sft"].right and row["rl"].right for row in groups[0].samples.values())
    assert len(chosen) == len(set(chosen)) == 12


def test_a_thumbnail_is_a_small_png_made_anew():
    url = transcripts.thumbnail(make_png(size=(900, 300)) + b"<script>")
    image = Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,"))))
    assert (image.format, image.size) == ("PNG", (160, 53))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<svg onload='alert(1)'/>", id="another format"),
        pytest.param(make_png()[:60], id="a torn file"),
        pytest.param(make_png(size=(7000, 7000)), id="more pixels than the cap"),
    ],
)
def test_an_image_that_cannot_be_trusted_is_not_shown(data):
    assert transcripts.thumbnail(data) is None


def test_long_texts_are_cut():
    text = "x" * (transcripts.MAX_CHARACTERS + 1234)
    assert transcripts._cut(text).endswith("x … (1,234 more characters)")


@pytest.mark.parametrize(
    ("value", "shown"), [(0.04, "0.0 s"), (59.94, "59.9 s"), (59.97, "1 min 00 s"), (7199.6, "2 h 00 min")]
)
def test_durations_round_before_they_carry(value, shown):
    assert duration(value) == shown


def test_a_fall_has_a_true_minus_sign():
    assert (points(-0.0314), points(0.0314), points(None)) == ("−3.1", "+3.1", "–")


def test_the_metrics_need_no_plotting_library():
    code = "import sys, gr_vl.evaluation.metrics; sys.exit('matplotlib' in sys.modules or 'sklearn' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_only_the_samples_that_were_answered_are_judged(tmp_path):
    run = make_run(tmp_path / "demo")
    corpus = corpora.read(run / "data" / "test.parquet")
    kept = corpus[: len(corpus) // 2]
    corpora.write(run / "eval" / "test.parquet", kept)
    for path in run.glob("eval/*/test.jsonl"):
        ids = {sample.id for sample in kept}
        write_answers(path, [answer for answer in read_answers(path) if answer.id in ids])
    summary = json.loads(write_summary(load(run)).read_text())
    assert {row["n"] for row in summary["eval"].values()} == {len(kept)}


def test_a_report_parses_every_answer_once(run, monkeypatch):
    parsed, parse = [], type(dialects.get("guardreasoner_vl")).parse
    monkeypatch.setattr(
        type(dialects.get("guardreasoner_vl")), "parse", lambda self, text: parsed.append(text) or parse(self, text)
    )
    result = CliRunner().invoke(app, ["report", str(run)])
    assert result.exit_code == 0
    answers = [answer for file in run.glob("eval/*/test.jsonl") for answer in read_answers(file)]
    assert sorted(parsed) == sorted(answer.text for answer in answers)
    assert len(parsed) == 240
    assert (run / "report.html").is_file()
    assert "eval" in json.loads((run / "summary.json").read_text())


def test_the_corpora_shown_are_those_that_the_stages_counted(page, whole):
    hard = corpora.read(whole / "mine" / "hard.parquet")
    table = next(cells(part) for part in page.split("<section")[1:] if part.startswith(' id="data"'))
    (row,) = (row for row in table if row[0] == ["hard", "(mined)"])
    assert row[1] == ["text"]
    texts = [sample for sample in hard if sample.modality == "text"]
    said = [[sample.labels.get(task) for sample in texts] for task in (Task.PROMPT, Task.RESPONSE)]
    counted = [labels.count(word) for labels in said for word in (Label.HARMFUL, Label.UNHARMFUL)]
    assert [int(cell) for (cell,) in row[2:]] == [len(texts), *counted]
