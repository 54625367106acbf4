"""Length of the reasoning, counted on the ids as they were generated."""

import pytest

from gr_vl import dialects
from gr_vl.answers import Ending, reasoning_tokens


class Letters:
    """A tokenizer of one token a character; 0 is an end token that decoding leaves out."""

    eos_token_id = 0

    def decode(self, ids, skip_special_tokens):
        assert skip_special_tokens
        return "".join(chr(number) for number in ids if number)


def letters(text):
    return [ord(letter) for letter in text]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", 0, id="an empty answer"),
        pytest.param("abc", 3, id="nothing closes the reasoning"),
        pytest.param("abc</think>de", 3, id="closed after three"),
        pytest.param("</think>de", 0, id="closed at once"),
        pytest.param("ab</think>c</think>", 2, id="closed twice"),
        pytest.param("<think>ab</think>", 9, id="the opening tag counts"),
        pytest.param("ab</thin", 8, id="half a tag"),
    ],
)
def test_tokens_before_the_closing_tag(text, expected):
    assert reasoning_tokens(Letters(), letters(text), "</think>") == expected


@pytest.mark.parametrize(
    ("dialect", "answer", "reasoning"),
    [
        pytest.param("guardreasoner_vl", "<think>ab</think><result>c</result>", "<think>ab", id="tags"),
        pytest.param(
            "guardreasoner", "# Task 1\nab\n\n---\n\nAnswers:\nRequest: harmful", "# Task 1\nab\n\n---\n", id="no tags"
        ),
        pytest.param("guardreasoner", "My Answers: none yet", "My Answers: none yet", id="the word in a sentence"),
        pytest.param("rsafe", "<think>ab</think>\\boxed{safe}", "<think>ab", id="a box"),
    ],
)
def test_reasoning_ends_where_the_dialects_grammar_ends_it(dialect, answer, reasoning):
    ends = dialects.spec(dialect).reasoning_ends
    assert reasoning_tokens(Letters(), letters(answer), ends) == len(reasoning)


def test_special_tokens_inside_count_and_the_end_token_after_does_not():
    assert reasoning_tokens(Letters(), [*letters("ab"), 0, *letters("c</think>d"), 0], "</think>") == 4
    assert reasoning_tokens(Letters(), [*letters("abc"), 0], "</think>") == 4


def test_a_tag_of_one_token_in_a_real_tokenizer(encoder, corpus):
    tokenizer = encoder.processor.tokenizer
    close = tokenizer.convert_tokens_to_ids("</think>")
    for sample in corpus[:20]:
        ids = tokenizer(encoder.dialect.target(sample), add_special_tokens=False)["input_ids"]
        assert reasoning_tokens(tokenizer, [*ids, tokenizer.eos_token_id], "</think>") == ids.index(close) > 5


def test_characters_of_several_tokens(encoder):
    tokenizer = encoder.processor.tokenizer
    before = tokenizer("日本語 naïve 🙂", add_special_tokens=False)["input_ids"]
    after = tokenizer("</think>é", add_special_tokens=False)["input_ids"]
    assert reasoning_tokens(tokenizer, [*before, *after], "</think>") == len(before)


@pytest.mark.parametrize(
    ("stop", "ids", "ended"),
    [
        pytest.param((), [], False, id="nothing is no answer"),
        pytest.param((), [*letters("ab"), 0], True, id="the end token"),
        pytest.param((), letters("ab[done]"), False, id="a text that stops nothing"),
        pytest.param(("[done]",), letters("ab[done]"), True, id="a stop text"),
        pytest.param(("[done]",), letters("ab[done"), False, id="most of one"),
        pytest.param(("[done]", "!"), letters("ab!"), True, id="the other one"),
        pytest.param(("[done]",), [*letters("ab"), 0], True, id="the end token beside a stop text"),
    ],
)
def test_an_answer_is_over_at_its_end_token_or_at_a_stop_text(stop, ids, ended):
    assert Ending(Letters(), stop)(ids) is ended


def test_a_stop_text_is_found_whatever_tokens_spell_it(encoder):
    tokenizer = encoder.processor.tokenizer
    ended = Ending(tokenizer, ["[d\u00f6ne]"])
    ids = tokenizer("It is so.\n[d\u00f6ne]", add_special_tokens=False)["input_ids"]
    assert [ended(ids[:count]) for count in range(len(ids) + 1)] == [False] * len(ids) + [True]


def test_servers_are_told_of_stop_texts_and_of_nothing_else():
    assert Ending(Letters()).parameters == {}
    assert Ending(Letters(), ["[done]"]).parameters == {"stop": ["[done]"], "include_stop_str_in_output": True}
