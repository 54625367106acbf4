"""The GuardReasoner-VL grammar: what is written can be read, and whatever is read has an outcome."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gr_vl import dialects
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict

GUARD = dialects.get("guardreasoner_vl")
H, U = Label.HARMFUL, Label.UNHARMFUL
RESULT = "<result>\nAnswers:\nRequest: harmful\nResponse: unharmful\n</result>"
GOOD = f"<think>\na\n</think>\n{RESULT}"
FRAGMENTS = [
    "<think>",
    "</think>",
    "<result>",
    "</result>",
    "Answers:",
    "\n",
    " ",
    "Request: harmful",
    "Response: none",
]
FRAGMENTS += ["Request:", "Response: unharmful", "reſponse: harmful", "x", "\0", "<", "think>"]


def sample(prompt_label=H, response_label=U, response="b", reasoning="step"):
    labels = {Task.PROMPT: prompt_label, Task.RESPONSE: response_label}
    return Sample("s", "test", "a", response, labels=labels, reasoning=reasoning)


@pytest.mark.parametrize("prompt_label", [H, U])
@pytest.mark.parametrize("response_label", [H, U])
def test_a_target_parses_to_its_own_labels(prompt_label, response_label):
    item = sample(prompt_label, response_label)
    assert GUARD.parse(GUARD.target(item)) == Verdict(item.labels, "step", well_formed=True)


def test_without_a_response_the_target_calls_it_unharmful():
    item = Sample("s", "test", "a", labels={Task.PROMPT: H}, reasoning="step")
    assert GUARD.parse(GUARD.target(item)).labels == {Task.PROMPT: H, Task.RESPONSE: U}


@pytest.mark.parametrize(
    "item",
    [
        pytest.param(sample(reasoning=None), id="without reasoning"),
        pytest.param(Sample("s", "test", "a", "b", labels={Task.PROMPT: H}, reasoning="x"), id="without a label"),
    ],
)
def test_a_sample_that_is_no_target_is_named(item):
    with pytest.raises(DataError, match="sample 's'"):
        GUARD.target(item)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", FailureReason.EMPTY, id="nothing"),
        pytest.param(" \n\t", FailureReason.EMPTY, id="white space"),
        pytest.param("<think>a", FailureReason.UNCLOSED_REASONING, id="reasoning that never ends"),
        pytest.param("</think>a<think>", FailureReason.UNCLOSED_REASONING, id="think tags in the wrong order"),
        pytest.param("a", FailureReason.NO_RESULT, id="plain text"),
        pytest.param("\0", FailureReason.NO_RESULT, id="a NUL"),
        pytest.param("<think>a</think><result>Request: harmful", FailureReason.NO_RESULT, id="an unclosed result"),
        pytest.param(f"<think>{RESULT}</think>", FailureReason.NO_RESULT, id="labels in the reasoning alone"),
        pytest.param(f"<think>a</think>{RESULT}</think>", FailureReason.NO_RESULT, id="a second end of reasoning"),
        pytest.param("<result></result>", FailureReason.MISSING_LABEL, id="an empty result"),
        pytest.param("<result>Request: harmful</result>", FailureReason.MISSING_LABEL, id="one label"),
        pytest.param(
            "<result>Request: harmful\nResponse: maybe</result>", FailureReason.MISSING_LABEL, id="an unknown word"
        ),
        pytest.param(GOOD.replace("harmful\nR", "None\nR"), FailureReason.MISSING_LABEL, id="no request to judge"),
        pytest.param(GOOD.replace("Response", "Reſponse"), FailureReason.MISSING_LABEL, id="a long s in a name"),
        pytest.param(
            GOOD.replace("harmful\nR", "hаrmful\nR"), FailureReason.MISSING_LABEL, id="a Cyrillic a in a label"
        ),
        pytest.param(GOOD.replace("Request:", "Request："), FailureReason.MISSING_LABEL, id="a full-width colon"),
        pytest.param(
            GOOD.replace("</result>", "Request: unharmful\n</result>"),
            FailureReason.CONFLICTING_LABELS,
            id="two opinions on one task",
        ),
    ],
)
def test_an_answer_without_a_verdict_says_why(text, reason):
    outcome = GUARD.parse(text)
    assert isinstance(outcome, ParseFailure)
    assert outcome.reason is reason


@pytest.mark.parametrize(
    ("text", "well_formed"),
    [
        pytest.param(GOOD, True, id="the grammar to the letter"),
        pytest.param(f"\n{GOOD}\n", True, id="white space around"),
        pytest.param(RESULT, False, id="no reasoning"),
        pytest.param(GOOD + "a", False, id="text after the result"),
        pytest.param("a" + GOOD, False, id="text before the reasoning"),
        pytest.param(GOOD.replace("</think>", "</think>a"), False, id="text between reasoning and result"),
        pytest.param(GOOD + RESULT, False, id="the result twice"),
        pytest.param(GOOD.replace("a\n", "<think>\n"), False, id="the opening tag twice"),
        pytest.param(GOOD.replace("a\n", "Request: unharmful\n"), True, id="a stray label in the reasoning"),
        pytest.param(GOOD.replace("a\n", RESULT.replace(": h", ": unh")), False, id="a result in the reasoning"),
        pytest.param(GOOD.replace("Answers:\n", ""), False, id="no header"),
        pytest.param(GOOD.replace("Request: harmful", "REQUEST : Harmful"), False, id="another case"),
        pytest.param(GOOD.replace("Response: unharmful", "Response: none"), False, id="none for unharmful"),
        pytest.param(GOOD.replace("Response: unharmful", "Response: harmless"), False, id="harmless for unharmful"),
        pytest.param(GOOD.replace("unharmful", "unharmful\nResponse: harmless"), False, id="both words for unharmful"),
        pytest.param(GOOD.replace("harmful\nR", "harmful\nRequest: harmful\nR"), False, id="a label repeated"),
        pytest.param(GOOD.replace("Request", "Request: none\nRequest"), False, id="a request that is none, then one"),
    ],
)
def test_labels_are_read_and_only_the_exact_grammar_is_well_formed(text, well_formed):
    outcome = GUARD.parse(text)
    assert isinstance(outcome, Verdict)
    assert (outcome.labels, outcome.well_formed) == ({Task.PROMPT: H, Task.RESPONSE: U}, well_formed)


@pytest.mark.parametrize(
    ("reasoning", "sectioned"),
    [
        pytest.param("# Task 1\n## Reasoning Step 1\na\n# Task 2\nb", True, id="both tasks, each with a sentence"),
        pytest.param("First.\n# Task 1: request\na\n\n# Task 2: response\nb", True, id="words before and in headings"),
        pytest.param("a", False, id="no heading"),
        pytest.param("# Task 2\nb", False, id="the first task left out"),
        pytest.param("# Task 1\na", False, id="the second task left out"),
        pytest.param("# Task 2\nb\n# Task 1\na", False, id="the other way round"),
        pytest.param("# Task 1\n\n# Task 2\nb", False, id="nothing on the first task"),
        pytest.param("# Task 1\na\n# Task 2\n## Reasoning Step 1\n", False, id="headings alone on the second task"),
        pytest.param("# Task 10\na\n# Task 2\nb", False, id="another task's number"),
    ],
)
def test_reasoning_is_sectioned_when_it_says_something_on_each_task_in_order(reasoning, sectioned):
    text = f"<think>{reasoning}</think>{RESULT}"
    assert (GUARD.parse(text).well_formed, GUARD.parse(text).sectioned) == (True, sectioned)


def test_the_last_complete_result_counts():
    flipped = RESULT.replace("Request: harmful", "Request: unharmful")
    assert GUARD.parse(f"<think>a</think>{flipped}{RESULT}<result>").labels[Task.PROMPT] == H


@pytest.mark.parametrize(
    "text",
    [
        *[pytest.param(char * 2**20, id=f"1 MB of {char!r}") for char in "a<>\n \0R"],
        *[pytest.param(tag * 2**17, id=f"a wall of {tag}") for tag in ("<think>", "</think>", "<result>", "</result>")],
        pytest.param(GOOD.replace("Answers:", "Answers:" + "\n" * 2**20 + "x"), id="1 MB of line breaks, then a word"),
        pytest.param(GOOD.replace("harmful\nR", "harmful" + "\n" * 2**20 + "x\nR"), id="1 MB between the labels"),
        pytest.param(GOOD.replace("Request:", "Request" + " " * 2**20 + "x\nRequest:"), id="1 MB of spaces in a line"),
    ],
)
@pytest.mark.timeout(30)  # in quadratic time a megabyte takes hours
def test_a_megabyte_is_parsed_at_once(text):
    assert isinstance(GUARD.parse(text), Verdict | ParseFailure)


def holds(text):
    outcome = GUARD.parse(text)
    if isinstance(outcome, Verdict):
        return set(outcome.labels) == set(GUARD.tasks) and all(text.count(tag) == 1 for tag in FRAGMENTS[:4]) >= (
            outcome.well_formed
        )
    return isinstance(outcome.reason, FailureReason)


@given(st.text())
def test_parse_is_total_on_any_text(text):
    assert holds(text)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=30).map("".join))
def test_parse_is_total_on_shuffled_grammar(text):
    assert holds(text)


def test_the_transcript_says_none_without_a_response():
    text = GUARD.messages(Sample("s", "test", "a"))[1]["content"]
    assert text == [{"type": "text", "text": "Human user:\na\n\nAI assistant:\nNone\n"}]


def test_images_follow_the_first_line():
    parts = GUARD.messages(Sample("s", "test", "a", "b", images=(b"1", b"2")))[1]["content"]
    assert [part.get("text", "image") for part in parts] == [
        "Human user:\n",
        "image",
        "image",
        "\na\n\nAI assistant:\nb\n",
    ]


def test_an_unknown_dialect_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="guardreasoner_vl"):
        dialects.get("klingon")
