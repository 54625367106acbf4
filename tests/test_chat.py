"""What servers send, as seen in the wild: completions that depart from the protocol, and refusals in every dress."""

import json

import pytest

pytest.importorskip("openai")

from gr_vl.chat.client import _retry_after
from gr_vl.chat.completion import UnreadableError, decoded, read
from gr_vl.chat.refusal import Kind, refusal


def body(content, usage=None, **choice):
    message = {"role": "assistant", "content": content}
    return {"choices": [{"message": message, "finish_reason": "stop"} | choice], "usage": usage}


TEXT = {"type": "text", "text": "safe"}
THOUGHT = {"type": "thinking", "thinking": [{"type": "text", "text": "unsafe"}]}


@pytest.mark.parametrize(
    ("found", "text", "finish"),
    [
        pytest.param(body("safe"), "safe", "stop", id="a text"),
        pytest.param(body([TEXT]), "safe", "stop", id="one part"),
        pytest.param(
            body([THOUGHT, TEXT, {"type": "text", "text": "\nS1"}]), "safe\nS1", "stop", id="thought and parts"
        ),
        pytest.param(body([THOUGHT]), "", "stop", id="a thought alone"),
        pytest.param(body([]), "", "stop", id="no part"),
        pytest.param(body(None), "", "stop", id="null"),
        pytest.param(body("\ud83d safe"), "\ufffd safe", "stop", id="half of a character"),
        pytest.param(
            body(None, message={"content": None, "tool_calls": [{"id": "1"}]}), "", "stop", id="tool calls alone"
        ),
        pytest.param(
            body(None, message={"content": "safe", "reasoning_content": "unsafe", "reasoning": "unsafe"}),
            "safe",
            "stop",
            id="reasoning beside the content",
        ),
        pytest.param({"choices": [{"message": {"content": "safe"}}]}, "safe", "None", id="no reason to end"),
    ],
)
def test_a_completion_is_read(found, text, finish):
    completion = read(decoded(json.dumps(found).encode()))
    assert (completion.text, completion.finish) == (text, finish)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(body(1), id="a number"),
        pytest.param(body(True), id="a truth value"),
        pytest.param(body({"text": "safe"}), id="an object"),
        pytest.param(body(["safe"]), id="parts that are no objects"),
        pytest.param(body([{"type": "text", "text": 1}]), id="a text part without text"),
        pytest.param({"choices": []}, id="no choices"),
        pytest.param({"choices": None}, id="null for choices"),
        pytest.param({"choices": "safe"}, id="a text for choices"),
        pytest.param({"choices": [None]}, id="null for a choice"),
        pytest.param({"choices": [{"message": None}]}, id="null for a message"),
        pytest.param({"choices": [{"delta": {"content": "safe"}}]}, id="a piece of a stream"),
        pytest.param([], id="a list"),
        pytest.param(None, id="null"),
        pytest.param({}, id="an empty object"),
    ],
)
def test_what_is_no_completion_is_unreadable(found):
    with pytest.raises(UnreadableError):
        read(found)


@pytest.mark.parametrize("data", [b"", b"<html>", b'{"choices": [', b"[" * 200_000, b"\xff\xfe\x00"])
def test_a_body_that_is_no_json_is_unreadable(data):
    with pytest.raises(UnreadableError):
        decoded(data)


@pytest.mark.parametrize(
    ("usage", "used"),
    [
        ({"prompt_tokens": 3, "completion_tokens": 2}, (3, 2)),
        ({"prompt_tokens": None, "completion_tokens": 2}, None),
        ({"prompt_tokens": 3.5, "completion_tokens": 2}, None),
        ({"prompt_tokens": -3, "completion_tokens": 2}, None),
        ({"prompt_tokens": True, "completion_tokens": 2}, None),
        ("many", None),
        ([], None),
    ],
)
def test_only_counts_are_counted(usage, used):
    assert read(body("safe", usage)).used == used


@pytest.mark.parametrize(
    ("status", "found", "kind"),
    [
        pytest.param(400, {"error": {"message": "m", "code": None}}, Kind.UNCLEAR, id="400 without a code"),
        pytest.param(400, {"error": {"code": "model_not_found"}}, Kind.SETTINGS, id="an unknown model"),
        pytest.param(
            400, {"error": {"code": "unsupported_parameter", "param": "max_tokens"}}, Kind.SETTINGS, id="field"
        ),
        pytest.param(400, {"error": {"code": "unsupported_value", "param": "temperature"}}, Kind.SETTINGS, id="value"),
        pytest.param(
            400,
            {"error": {"code": "unsupported_value", "param": "messages[1].content[0].type"}},
            Kind.UNCLEAR,
            id="a model without eyes: some samples have images",
        ),
        pytest.param(
            400, {"error": {"code": "context_length_exceeded", "param": "messages"}}, Kind.SAMPLE, id="too long"
        ),
        pytest.param(400, {"error": {"code": 400, "type": "exceed_context_size_error"}}, Kind.SAMPLE, id="by type"),
        pytest.param(400, {"error": {"code": "content_filter"}}, Kind.SAMPLE, id="a filter"),
        pytest.param(400, {"error": {"code": "content_policy_violation"}}, Kind.SAMPLE, id="a policy"),
        pytest.param(
            400,
            {"error": {"code": None, "innererror": {"code": "ResponsibleAIPolicyViolation"}}},
            Kind.SAMPLE,
            id="inner",
        ),
        pytest.param(
            403, {"error": {"code": 403, "metadata": {"flagged_input": "x"}}}, Kind.SAMPLE, id="a filter that says 403"
        ),
        pytest.param(
            400,
            {"error": {"message": "the sample says model_not_found", "code": None}},
            Kind.UNCLEAR,
            id="a code in a message is none",
        ),
        pytest.param(401, {"error": {"code": "content_filter"}}, Kind.SETTINGS, id="a wrong key"),
        pytest.param(403, None, Kind.SETTINGS, id="403"),
        pytest.param(404, "<html>", Kind.SETTINGS, id="404 with a page"),
        pytest.param(405, {}, Kind.SETTINGS, id="405"),
        pytest.param(413, {}, Kind.UNCLEAR, id="413"),
        pytest.param(415, [], Kind.UNCLEAR, id="415"),
        pytest.param(422, {"detail": [{"loc": ["body", "top_p"], "msg": "m"}]}, Kind.SETTINGS, id="422 about a field"),
        pytest.param(422, {"message": {"detail": [{"loc": ["body", "x"]}]}}, Kind.SETTINGS, id="the same, deeper"),
        pytest.param(
            422, {"detail": [{"loc": ["body", "messages", 1, "content"]}]}, Kind.UNCLEAR, id="422 about the content"
        ),
        pytest.param(422, {"detail": "m"}, Kind.UNCLEAR, id="422 in words"),
        pytest.param(429, {"error": {"code": "rate_limit_exceeded"}}, Kind.PASSING, id="busy"),
        pytest.param(429, {"error": {"code": "insufficient_quota"}}, Kind.SETTINGS, id="no money"),
        pytest.param(503, {"error": {"code": "model_not_found"}}, Kind.PASSING, id="a server that is broken"),
        pytest.param(400, [{"error": {"code": "model_not_found"}}], Kind.SETTINGS, id="in a list"),
        pytest.param(400, {"error": "model is loading", "error_type": "overloaded"}, Kind.UNCLEAR, id="a text"),
        pytest.param(200, {"error": {"code": 529, "message": "m"}}, Kind.PASSING, id="200 with a status in it"),
        pytest.param(200, {"error": {"code": 401, "message": "m"}}, Kind.SETTINGS, id="200 with a refusal in it"),
        pytest.param(200, {"error": {"type": "overloaded_error"}}, Kind.PASSING, id="200 with a type in it"),
        pytest.param(200, {"error": "m"}, Kind.UNCLEAR, id="200 with words in it"),
    ],
)
def test_a_refusal_is_classified(status, found, kind):
    assert refusal(status, found).kind is kind


def test_the_words_of_a_server_are_one_line_without_control_characters():
    found = refusal(400, {"error": {"message": "a\x1b[31m\n b\ud83d" + "c" * 999}})
    assert found.words.startswith("a [31m b\ufffdccc")
    assert len(found.words) == 200


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "250"}, 0.25),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "-2"}, 0.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "soon"}, None),
        ({}, None),
    ],
)
def test_how_long_a_server_asks_to_wait(headers, seconds):
    assert _retry_after(headers) == seconds
