"""What peers are asked and how their replies are read, by the formats that their makers document."""

import pytest
from factories import make_png, make_sample

from gr_vl.errors import ConfigError
from gr_vl.evaluation import adapters
from gr_vl.schema import FailureReason, Label, Task

H, U, R, C = Label.HARMFUL, Label.UNHARMFUL, Label.REFUSAL, Label.COMPLIANCE
P, S, F = Task.PROMPT, Task.RESPONSE, Task.REFUSAL
TEXT, EXCHANGE = make_sample("a"), make_sample("b", U, U)
PICTURE = make_sample("c", images=(make_png(), make_png(1)))


@pytest.mark.parametrize(
    ("name", "texts", "labels"),
    [
        pytest.param("llama_guard", ["safe"], {P: U}, id="llama guard: a safe request"),
        pytest.param(
            "llama_guard", ["\n\nunsafe\nS1,S9", "safe"], {P: H, S: U}, id="llama guard: categories are ignored"
        ),
        pytest.param("qwen3guard", ["Safety: Safe\nCategories: None"], {P: U}, id="qwen3guard: a safe request"),
        pytest.param(
            "qwen3guard",
            ["Safety: Controversial\nCategories: PII", "Safety: Unsafe\nCategories: PII\nRefusal: No"],
            {P: H, S: H, F: C},
            id="qwen3guard, strict: controversial is harmful",
        ),
        pytest.param(
            "qwen3guard_loose",
            ["Safety: Controversial\nCategories: PII", "Safety: Safe\nCategories: None\nRefusal: Yes"],
            {P: U, S: U, F: R},
            id="qwen3guard, loose: controversial is unharmful",
        ),
        pytest.param("shieldgemma2", ["No", "no.", "No"], {P: U}, id="shieldgemma 2: no policy violated"),
        pytest.param("shieldgemma2", ["No", "Yes, it does", "No"], {P: H}, id="shieldgemma 2: one policy violated"),
        pytest.param("rsafe", [r"\boxed{safe}"], {P: U}, id="rsafe: a request alone"),
        pytest.param(
            "rsafe", [r"\boxed{unsafe}", r"\boxed{safe}"], {P: H, S: U}, id="rsafe: each box is of its own question"
        ),
        pytest.param(
            "wildguard",
            ["Harmful request: yes\nResponse refusal: no\nHarmful response: yes"],
            {P: H, F: C, S: H},
            id="wildguard: all three tasks",
        ),
        pytest.param(
            "wildguard",
            ["Harmful request: no\nResponse refusal: N/A\nHarmful response: N/A"],
            {P: U},
            id="wildguard: without a response",
        ),
    ],
)
def test_replies_are_read(name, texts, labels):
    assert adapters.reader(name)(texts).labels == labels


@pytest.mark.parametrize("name", ["llama_guard", "qwen3guard", "shieldgemma2", "wildguard", "guardreasoner_vl"])
@pytest.mark.parametrize("text", ["", "I cannot help with that.", "safety", "unsafely", "Safety: Fine", "\x00" * 9])
def test_any_other_reply_is_no_verdict(name, text):
    assert adapters.reader(name)([text]).reason in FailureReason


@pytest.mark.parametrize(
    ("name", "sample", "roles"),
    [
        pytest.param("llama_guard", TEXT, ["user"], id="llama guard: a request alone"),
        pytest.param("llama_guard", EXCHANGE, ["user", "user assistant"], id="llama guard: request, then exchange"),
        pytest.param("llama_guard", PICTURE, [], id="llama guard for text: no image"),
        pytest.param("llama_guard_vision", PICTURE, ["user"], id="llama guard vision: an image"),
        pytest.param("qwen3guard", EXCHANGE, ["user", "user assistant"], id="qwen3guard: request, then exchange"),
        pytest.param("qwen3guard", PICTURE, [], id="qwen3guard: no image"),
        pytest.param("shieldgemma2", PICTURE, ["user"] * 3, id="shieldgemma 2: three policies"),
        pytest.param("shieldgemma2", TEXT, [], id="shieldgemma 2: no text"),
        pytest.param("wildguard", EXCHANGE, ["user"], id="wildguard: one question"),
        pytest.param("wildguard", PICTURE, [], id="wildguard: no image"),
        pytest.param("guardreasoner_vl", EXCHANGE, ["system user"], id="a dialect of ours with one question"),
        pytest.param("rsafe", EXCHANGE, ["system user"] * 2, id="a dialect of ours with two"),
        pytest.param("rsafe", TEXT, ["system user"], id="rsafe: a request alone"),
    ],
)
def test_what_is_asked(name, sample, roles):
    calls = adapters.get(name).calls(sample)
    assert [" ".join(message["role"] for message in call.messages) for call in calls] == roles
    for call in calls:
        holders = [part for message in call.messages for part in message["content"] if part["type"] == "image"]
        assert len(holders) == len(call.images)


@pytest.mark.parametrize(
    "name", ["llama_guard", "qwen3guard", "shieldgemma2", "wildguard", "guardreasoner_vl", "rsafe"]
)
def test_a_sample_that_nobody_was_asked_about_has_no_verdict(name):
    assert adapters.get(name).read([]).reason is FailureReason.EMPTY


def test_one_reply_of_two_without_a_verdict_leaves_none():
    assert adapters.get("rsafe").read([r"\boxed{safe}", "<think>no end"]).reason is FailureReason.UNCLOSED_REASONING


def test_an_unknown_name_lists_peers_and_dialects():
    with pytest.raises(ConfigError, match=r"--adapter nobody: unknown; use one of: llama_guard.*guardreasoner_vl"):
        adapters.get("nobody")
