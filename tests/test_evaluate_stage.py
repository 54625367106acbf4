"""The stage eval: a benchmark is scored whole, whatever could not be asked, by the rule that the recipe names."""

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
from factories import HARMFUL, UNHARMFUL, make_png, make_sample, make_text

from gr_vl import checks, compose, launch
from gr_vl.data import io
from gr_vl.errors import ConfigError
from gr_vl.evaluation.answers import read_answers
from gr_vl.evaluation.report import write_report, write_summary
from gr_vl.evaluation.run_folder import load
from gr_vl.generation import Generator, Request
from gr_vl.schema import Task
from gr_vl.stages import evaluate, lengths

H, U = HARMFUL, UNHARMFUL
LONG = make_sample("long", H, prompt="word " * 500)
BROKEN = make_sample("broken", H, prompt="", images=(make_png()[:60],))


class Servers:
    """verl's manager and client: every answer says harmful, as the tokenizer spells it."""

    server_handles = (None, None)

    def __init__(self, encoder):
        self.asked, text = [], make_text(H, H)
        self.ids = [*encoder.tokenizer(text, add_special_tokens=False)["input_ids"], encoder.tokenizer.eos_token_id]

    def get_client(self):
        return self

    async def generate(self, name, **_):
        self.asked.append(name)
        return SimpleNamespace(token_ids=self.ids)


def settings(tmp_path, *overrides):
    names = ("~gr_vl.eval.models.base", "~gr_vl.eval.models.rl", "~gr_vl.eval.models.rl_eco", "gr_vl.eval.scores=false")
    return compose.stage("guardreasoner_vl", "eval", ["model=tiny", f"run={tmp_path}", *names, *overrides])


@pytest.fixture
def evaluated(tmp_path, encoder, monkeypatch):
    """Runs the stage over these rows; returns its run folder, its counts and who was asked."""

    def run(rows, *overrides):
        stage, servers = settings(tmp_path, *overrides), Servers(encoder)
        io.write(tmp_path / "data" / "test.parquet", rows)

        def serve(config, folder):
            rollout = config.actor_rollout_ref.rollout
            corpus, key = tmp_path / "data" / "test.parquet", "actor_rollout_ref.rollout.prompt_length"
            kept = lengths.fit(corpus, folder, encoder, rollout.prompt_length, key, targets=False)
            generator = Generator(servers, encoder)
            monkeypatch.setattr(generator, "load", lambda model: None)
            return generator, Request(1, 0.0, 1.0, 1, rollout.response_length), kept

        monkeypatch.setattr(evaluate, "serve", serve)
        launch._describe(stage)
        return evaluate.run(stage.config), servers.asked

    return run


@pytest.fixture
def rows():
    """Twenty harmful requests that are asked, of which the guard gets all."""
    return [make_sample(f"s{i}", H, prompt=f"case {i}") for i in range(20)]


UNASKED = [
    pytest.param([LONG], 1, id="a sample that is too long"),
    pytest.param([BROKEN], 1, id="a sample whose image cannot be read"),
    pytest.param([LONG, BROKEN], 2, id="both"),
]


@pytest.mark.parametrize(("left", "number"), UNASKED)
def test_what_cannot_be_asked_is_scored_as_wrong_and_counted(evaluated, rows, tmp_path, left, number):
    counts, asked = evaluated([*rows[:9], *left, *rows[9:]])
    assert asked == [row.id for row in rows]
    found = counts["scores"]["sft"]
    assert (found["n"], found["unanswered"]) == (20 + number, number)
    assert found["prompt_f1"] == pytest.approx(2 * 20 / (2 * 20 + number))
    assert found["parse_failure_rate"] == pytest.approx(number / (20 + number))
    assert json.loads(write_summary(load(tmp_path)).read_text())["eval"]["sft"] == found
    (result,) = load(tmp_path).evaluations["test"].values()
    assert (result.by_source["demo"][Task.PROMPT].n, result.failures) == (20 + number, {"unanswered": number})
    assert f"<small>unanswered {number}</small>" in write_report(load(tmp_path)).read_text()


def test_the_answer_says_why_the_sample_was_not_asked_and_has_no_part_in_the_tokens(evaluated, rows, tmp_path):
    counts, _ = evaluated([*rows, LONG, BROKEN])
    *given, long, broken = sorted(
        read_answers(tmp_path / "eval/sft/test.jsonl"), key=lambda answer: bool(answer.failure)
    )
    assert long.failure.startswith("too long: ")
    assert long.failure.endswith("prompt_length=160")
    assert broken.failure.startswith("unusable: image")
    assert {answer.failure for answer in given} == {""}
    assert counts["scores"]["sft"]["mean_output_tokens"] == given[0].tokens


def test_a_stage_that_is_run_again_asks_and_writes_nothing_twice(evaluated, rows, tmp_path):
    evaluated([*rows, LONG])
    before = (tmp_path / "eval/sft/test.jsonl").read_bytes()
    _, asked = evaluated([*rows, LONG])
    assert (asked, (tmp_path / "eval/sft/test.jsonl").read_bytes()) == ([], before)


def test_a_limit_counts_samples_of_the_corpus_and_not_those_that_fit(evaluated, rows):
    counts, asked = evaluated([LONG, *rows], "gr_vl.generation.samples=3")
    assert asked == ["s0", "s1"]
    assert counts["scores"]["sft"]["n"] == 3


def test_of_rows_with_one_id_the_first_is_the_sample(evaluated, rows):
    counts, asked = evaluated([*rows, replace(rows[3], prompt="another")])
    assert (len(asked), counts["scores"]["sft"]["n"]) == (20, 20)
    assert counts["quarantined"] == {"id of an earlier row": 1}


def test_the_rule_drop_reaches_scores_run_report_and_summary(evaluated, rows, tmp_path):
    counts, _ = evaluated([*rows, LONG, make_sample("benign", U)], "gr_vl.eval.unparsable=drop")
    # 20 of 20 found, one false alarm, and the one that was not asked is left out.
    assert counts["scores"]["sft"]["prompt_f1"] == pytest.approx(40 / 41)
    assert json.loads((tmp_path / "run.json").read_text())["unparsable"] == "drop"
    assert json.loads(write_summary(load(tmp_path)).read_text())["eval"] == counts["scores"]
    (result,) = load(tmp_path).evaluations["test"].values()
    assert (result.overall[Task.PROMPT].n, result.n, result.unanswered) == (21, 22, 1)
    page = write_report(load(tmp_path)).read_text()
    assert "Unparsable answers are left out of F1." in page
    assert "Unparsable is left out" in page


def test_the_rule_is_written_beside_what_an_earlier_stage_wrote(tmp_path):
    launch._describe(compose.stage("guardreasoner_vl", "data", ["model=tiny", f"run={tmp_path}", "seed=5"]))
    first = json.loads((tmp_path / "run.json").read_text())
    launch._describe(settings(tmp_path, "gr_vl.eval.unparsable=drop"))
    assert json.loads((tmp_path / "run.json").read_text()) == first | {
        "unparsable": "drop",
        "models": {"sft": "sft"},
    }


@pytest.mark.parametrize("recipe", ["guardreasoner_vl", "guardreasoner", "rsafe"])
def test_an_unknown_rule_is_refused_before_anything_runs(tmp_path, recipe):
    stage = compose.stage(recipe, "eval", ["model=tiny", f"run={tmp_path}", "gr_vl.eval.unparsable=ignore"])
    with pytest.raises(ConfigError, match=r"gr_vl\.eval\.unparsable='ignore' is unknown; use one of: wrong, drop"):
        checks.check(stage, files=False)
