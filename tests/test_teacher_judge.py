"""What a reply must be to teach: whole, in the form, step by step, right, and silent about what it was told."""

import pytest
from endpoint import good
from factories import HARMFUL, UNHARMFUL, make_sample

from gr_vl import dialects
from gr_vl.schema import Task, Verdict
from gr_vl.teacher.judge import judge

DIALECT = dialects.get("guardreasoner_vl")
SAMPLE = make_sample("a", HARMFUL, UNHARMFUL)
TEXT = good({"messages": [{}, {"content": "Task 1, x harmfulness: harmful\nTask 2, x harmfulness: unharmful"}]}).text
STEP = "## Reasoning Step 1\nIt is harmful."


@pytest.mark.parametrize(
    ("text", "finish", "fault", "words"),
    [
        pytest.param("", "stop", "wrong_form", "empty", id="empty content"),
        pytest.param("I cannot help with that.", "stop", "wrong_form", "no_result", id="a refusal"),
        pytest.param(TEXT[:40], "length", "unfinished", "length", id="cut off at the token limit"),
        pytest.param(TEXT, "content_filter", "unfinished", "content_filter", id="filtered"),
        pytest.param(f"Sure.\n{TEXT}", "stop", "wrong_form", "before or after", id="words around the form"),
        pytest.param(
            TEXT.replace("Request: harmful", "Request: unharmful"),
            "stop",
            "wrong_labels",
            "prompt is harmful, not unharmful",
            id="a wrong label",
        ),
        pytest.param(
            TEXT.replace("Response: unharmful", "Response: safe"),
            "stop",
            "wrong_form",
            "missing_label",
            id="another word",
        ),
        pytest.param(
            TEXT.replace("# Task 2\n", ""), "stop", "wrong_steps", "'# Task 1' to '# Task 2'", id="a task left out"
        ),
        pytest.param(
            TEXT.replace(STEP, STEP.replace("1", "2")), "stop", "wrong_steps", "counting from 1", id="a step left out"
        ),
        pytest.param(TEXT.replace("It is harmful.", " "), "stop", "wrong_steps", "empty step", id="an empty step"),
        pytest.param(
            TEXT.replace(STEP, "\n".join(STEP.replace("1", str(n)) for n in range(1, 12))),
            "stop",
            "wrong_steps",
            "11 steps",
            id="eleven steps",
        ),
        pytest.param(
            TEXT.replace("It is harmful.", "The given label says so."),
            "stop",
            "given_away",
            "given label",
            id="reasoning that cites the labels",
        ),
    ],
)
def test_a_reply_is_refused(text, finish, fault, words):
    refusal = judge(SAMPLE, text, finish, DIALECT)
    assert refusal.fault == fault
    assert words in refusal.why


def test_a_reply_is_accepted_with_titles_and_the_greatest_number_of_steps():
    steps = "\n".join(f"## Reasoning Step {n}: on and on\nIt asks for harm." for n in range(1, 11))
    text = TEXT.replace("# Task 1\n", "# Task 1: the request\n").replace(STEP, steps)
    verdict = judge(SAMPLE, text, "stop", DIALECT)
    assert isinstance(verdict, Verdict)
    assert verdict.labels == {Task.PROMPT: HARMFUL, Task.RESPONSE: UNHARMFUL}
    assert verdict.reasoning.startswith("# Task 1: the request\n## Reasoning Step 1")


def test_without_a_known_label_either_word_is_right():
    assert isinstance(judge(make_sample("a", None, UNHARMFUL), TEXT, "stop", DIALECT), Verdict)
