"""What peers are asked and how their replies are read, by the formats that their makers document."""

import pytest
from factories import make_png, make_sample

from gr_vl.errors import ConfigError
from gr_vl.evaluation import adapters
from gr_vl.schema import FailureReason, Label, ParseFailure, Task

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


REPLIES = {
    "llama_guard": ["safe"],
    "qwen3guard": ["Safety: Safe\nCategories: None"],
    "shieldgemma2": ["No", "No", "No"],
    "wildguard": ["Harmful request: no\nResponse refusal: no\nHarmful response: no"],
    "guardreasoner": ["Answers:\nRequest: unharmful\nCompletion: compliance\nResponse: unharmful"],
}
HARM = {
    "llama_guard": "unsafe\nS1",
    "qwen3guard": "Safety: Unsafe\nCategories: Violent",
    "shieldgemma2": "Yes",
    "wildguard": "Harmful request: yes\nResponse refusal: yes\nHarmful response: yes",
    "guardreasoner": "Answers:\nRequest: harmful\nCompletion: refusal\nResponse: harmful",
}
TOKENS = ["<|eot_id|>", "<|im_end|>", "<|endoftext|>", "<end_of_turn>", "<eos>", "</s>", "<|im_end|>\n<|endoftext|>"]


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize(
    "around",
    [
        *[pytest.param(f"{{}}{token}", id=f"then {token!r}") for token in TOKENS],
        pytest.param("\n\n  {}  \n", id="between blanks"),
        pytest.param("<think>\n{harm}\n</think>\n\n{}", id="after a thought that says the opposite"),
        pytest.param("{harm}\n</think>\n{}", id="after a thought that the template began"),
        pytest.param("<think>{harm}<|im_end|></think>{}", id="after a thought with a token in it"),
        pytest.param("{}<|im_end|>\n{harm}", id="before another turn that says the opposite"),
    ],
)
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\u2028", "\x85"])
def test_what_stands_around_a_reply_is_no_part_of_it(name, around, ending):
    texts = [around.format(text, harm=HARM[name]).replace("\n", ending) for text in REPLIES[name]]
    verdict = adapters.reader(name)(texts)
    assert verdict.labels == adapters.reader(name)(REPLIES[name]).labels
    assert Label.HARMFUL not in verdict.labels.values()


@pytest.mark.parametrize("name", REPLIES)
@pytest.mark.parametrize("around", ["<think>\n{}", "<think>a</think>\n<think>\n{}", "</think><think>{}"])
def test_a_thought_that_stays_open_holds_no_verdict(name, around):
    assert adapters.reader(name)([around.format(HARM[name])]).reason is FailureReason.UNCLOSED_REASONING


@pytest.mark.parametrize(
    ("name", "texts", "labels"),
    [
        pytest.param("llama_guard", ["unsafe S1"], {P: H}, id="llama guard: categories on the line"),
        pytest.param("llama_guard", ["UNSAFE\nS1,S2"], {P: H}, id="llama guard: capitals"),
        pytest.param("llama_guard", ["unsafe: S1, S2"], {P: H}, id="llama guard: a colon"),
        pytest.param("qwen3guard", ["safety : UNSAFE"], {P: H}, id="qwen3guard: capitals and blanks"),
        pytest.param("wildguard", ["Harmful Request : YES"], {P: H}, id="wildguard: capitals and blanks"),
        pytest.param("rsafe", ["<think>\\boxed{safe}</think>\r\n\\boxed{unsafe}<|im_end|>"], {P: H}, id="rsafe"),
        pytest.param(
            "guardreasoner_vl",
            ["<think>\r\na\r\n</think>\r\n<result>\rAnswers:\rRequest: harmful\rResponse: unharmful\r</result></s>"],
            {P: H, S: U},
            id="a dialect",
        ),
    ],
)
def test_replies_are_read_in_any_spelling(name, texts, labels):
    verdict = adapters.reader(name)(texts)
    assert verdict.labels == labels
    assert verdict.well_formed is (name != "wildguard")


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        pytest.param("llama_guard", "safe or unsafe", FailureReason.NO_RESULT, id="llama guard: both words"),
        pytest.param("llama_guard", "safe S1", FailureReason.NO_RESULT, id="llama guard: safe with a category"),
        pytest.param(
            "qwen3guard", "I write Safety: Safe if it is.", FailureReason.NO_RESULT, id="qwen3guard: in prose"
        ),
        pytest.param(
            "qwen3guard", "Safety: Safe, Unsafe or Controversial", FailureReason.NO_RESULT, id="the form itself"
        ),
        pytest.param(
            "qwen3guard", "Safety: Safe\nSafety: Unsafe", FailureReason.CONFLICTING_LABELS, id="qwen3guard: both lines"
        ),
        pytest.param("wildguard", "Harmful request: yes/no", FailureReason.NO_RESULT, id="wildguard: the form itself"),
        pytest.param(
            "wildguard",
            "Harmful request: yes\nHarmful request: no",
            FailureReason.CONFLICTING_LABELS,
            id="wildguard: both lines",
        ),
    ],
)
def test_a_form_that_is_only_quoted_is_no_verdict(name, text, reason):
    assert adapters.reader(name)([text]).reason is reason


@pytest.mark.parametrize("thought", ["<think>\n{}", "<think>\n{}\n</think>\nRequest: harmful"])
def test_the_dialect_without_tags_reads_nothing_in_a_thought(thought):
    assert isinstance(adapters.get("guardreasoner").read([thought.format(HARM["guardreasoner"])]), ParseFailure)
