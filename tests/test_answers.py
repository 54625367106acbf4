import json
from dataclasses import replace

import pytest
from factories import HARMFUL, make_answer, make_sample, make_text

from gr_vl import dialects
from gr_vl.errors import DataError
from gr_vl.evaluation.answers import append_answers, read_answers, write_answers
from gr_vl.evaluation.metrics import judge
from gr_vl.schema import Answer

ANSWERS = [
    make_answer("a", 'two\nlines, "quotes", ünïcode, \u2028 and a lone \ud800', 7),
    make_answer("b", "", 1, index=3, finished=False),
]


def test_answers_survive_the_file(tmp_path):
    path = tmp_path / "sft" / "test.jsonl"
    assert write_answers(path, ANSWERS) == 2
    assert read_answers(path) == ANSWERS
    assert [file.name for file in path.parent.iterdir()] == ["test.jsonl"]


def test_one_object_a_line_with_the_fields_of_an_answer(tmp_path):
    write_answers(tmp_path / "x.jsonl", ANSWERS)
    rows = [json.loads(line) for line in (tmp_path / "x.jsonl").read_text().splitlines()]
    assert list(rows[1]) == ["id", "index", "text", "tokens", "reasoning_tokens", "finished"]


@pytest.mark.parametrize("lost", [5, 30, 90], ids=["a few bytes", "half of it", "nearly all of it"])
def test_a_torn_last_line_is_dropped_and_appending_continues_after_the_last_whole_one(tmp_path, lost):
    path = tmp_path / "x.jsonl"
    write_answers(path, ANSWERS)
    path.write_bytes(path.read_bytes()[:-lost])
    assert read_answers(path) == ANSWERS[:1]
    append_answers(path, ANSWERS[1:])
    assert read_answers(path) == ANSWERS


def test_a_last_line_that_lacks_only_its_newline_is_kept(tmp_path):
    path = tmp_path / "x.jsonl"
    write_answers(path, ANSWERS)
    path.write_bytes(path.read_bytes()[:-1])
    assert read_answers(path) == ANSWERS
    append_answers(path, ANSWERS)
    assert read_answers(path) == ANSWERS * 2


def test_append_begins_a_file(tmp_path):
    assert append_answers(tmp_path / "new" / "x.jsonl", ANSWERS) == 2
    assert read_answers(tmp_path / "new" / "x.jsonl") == ANSWERS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        pytest.param("{torn", "line 2: no answer", id="no JSON"),
        pytest.param("[1]", "line 2: no answer", id="no object"),
        pytest.param('{"id": "b"}', "line 2: no answer.*index", id="a field is missing"),
        pytest.param(
            '{"id": "b", "index": 0, "text": null, "tokens": 1, "reasoning_tokens": 1, "finished": true}',
            "line 2: text=None",
            id="a field of another type",
        ),
    ],
)
def test_a_broken_line_in_the_middle_is_named(tmp_path, line, message):
    path = tmp_path / "x.jsonl"
    write_answers(path, ANSWERS[:1])
    path.write_text(f"{path.read_text()}{line}\n{path.read_text()}")
    with pytest.raises(DataError, match=message):
        read_answers(path)


def test_no_file_is_an_error_that_names_it(tmp_path):
    with pytest.raises(DataError, match=r"nothing\.jsonl: no such file"):
        read_answers(tmp_path / "nothing.jsonl")


def test_time_and_scores_of_an_answer_survive_and_what_is_no_number_is_left_out(tmp_path):
    path = tmp_path / "answers.jsonl"
    timed = Answer("a", 0, "x", 2, 1, True, seconds=0.25, scores={"prompt": 0.75})
    write_answers(path, [timed, make_answer("b")])
    assert read_answers(path) == [timed, make_answer("b")]
    assert "seconds" not in path.read_text().split("\n")[1]
    path.write_text(path.read_text().replace("0.25", "NaN").replace("0.75", "7"))
    assert read_answers(path)[0] == Answer("a", 0, "x", 2, 1, True)


@pytest.mark.parametrize(
    ("dialect", "text"),
    [
        pytest.param("guardreasoner_vl", make_text(HARMFUL), id="a verdict"),
        pytest.param("guardreasoner_vl", make_text(HARMFUL).replace("\n", "\r\n"), id="other line endings"),
        pytest.param("guardreasoner_vl", "<think>\nI look", id="no verdict, with reasoning"),
        pytest.param("guardreasoner_vl", "", id="nothing"),
        pytest.param(
            "guardreasoner",
            "# Task 1\nA.\n\n---\n\nAnswers:\nRequest: harmful\nCompletion: refusal\nResponse: unharmful",
            id="three tasks",
        ),
        pytest.param("rsafe", "<think>\nR1.\n</think>\n\\boxed{safe}", id="a box"),
        pytest.param("guards.levels", "<think>a\nb</think>\nSeverity: low\nWhy: it is\n[done]", id="a field"),
    ],
)
def test_what_was_read_is_kept_with_the_answer_and_not_read_again(tmp_path, dialect, text):
    outcome = dialects.get(dialect).parse(text)
    write_answers(tmp_path / "x.jsonl", [replace(make_answer("a", text), outcome=outcome)])
    [found] = read_answers(tmp_path / "x.jsonl")
    assert found.outcome == outcome

    def parse(_):
        raise AssertionError("the answer was read again")

    assert judge([make_sample("a")], [found], parse)[0].outcome == outcome


@pytest.mark.parametrize(
    "outcome", [{}, 3, {"failure": "tired", "reasoning": [0, 0]}, {"said": 1, "reasoning": [0, 0]}]
)
def test_an_outcome_that_nobody_wrote_is_refused(tmp_path, outcome):
    row = {"id": "a", "index": 0, "text": "", "tokens": 1, "reasoning_tokens": 1, "finished": True, "outcome": outcome}
    (tmp_path / "x.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="line 1: outcome is nothing that was read"):
        read_answers(tmp_path / "x.jsonl")
