"""Where labels stand in an answer, and what a score is."""

import math

import pytest
from factories import HARMFUL, UNHARMFUL, make_text

from gr_vl import dialects
from gr_vl.schema import Task

GUARD, RSAFE = dialects.get("guardreasoner_vl"), dialects.get("rsafe")


@pytest.mark.parametrize("prompt", [HARMFUL, UNHARMFUL])
@pytest.mark.parametrize("response", [HARMFUL, UNHARMFUL])
def test_the_places_of_an_answer_hold_its_labels(prompt, response):
    text = GUARD.answer({Task.PROMPT: prompt, Task.RESPONSE: response}, "Request: unharmful")
    assert {task: text[slice(*span)] for task, span in GUARD.places(text).items()} == {
        Task.PROMPT: prompt,
        Task.RESPONSE: response,
    }
    assert text == make_text(prompt, response, "Request: unharmful")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("<think>a", {}, id="no verdict, no place"),
        pytest.param(
            "<result>Request: HARMFUL\nResponse : none</result>",
            {Task.PROMPT: "HARMFUL", Task.RESPONSE: "none"},
            id="right after the tag, in other letters",
        ),
        pytest.param(
            "<result>Request: none\nRequest: harmful\nResponse: harmful</result>",
            {Task.PROMPT: "harmful", Task.RESPONSE: "harmful"},
            id="a request that is none is passed over",
        ),
        pytest.param(
            make_text(HARMFUL) + "</think><result>\nResponse: harmful\nRequest: unharmful\n</result>",
            {Task.RESPONSE: "harmful", Task.PROMPT: "unharmful"},
            id="the last block, in another order",
        ),
    ],
)
def test_places_are_those_that_the_parser_reads(text, words):
    assert {task: text[slice(*span)] for task, span in GUARD.places(text).items()} == words


@pytest.mark.parametrize(
    "before",
    [
        pytest.param("<think>\nIs it \\boxed{safe}?\n</think>\n", id="after a box in the reasoning"),
        pytest.param("<think>\nIt is.\n</think>\n\\boxed{safe} or rather ", id="after another verdict"),
    ],
)
def test_a_boxed_verdict_stands_in_the_last_box(before):
    text = before + "\\boxed{unsafe}"
    place = (len(before) + len("\\boxed{"), len(text) - 1)
    assert text[slice(*place)] == "unsafe"
    assert RSAFE.places(text) == {Task.PROMPT: place, Task.RESPONSE: place}


def test_a_label_that_is_said_twice_stands_where_it_is_said_first():
    text = "<result>\nRequest: harmful\nRequest: harmful\nResponse: harmful\n</result>"
    assert GUARD.places(text)[Task.PROMPT] == (18, 25)


@pytest.mark.parametrize(
    ("log_probs", "label"),
    [
        pytest.param([-1.0, -2.0], "harmful", id="the likelier one"),
        pytest.param([-2.0, -1.0], "unharmful", id="the other one"),
        pytest.param([-1.0, -1.0], "harmful", id="a tie is the worst"),
        pytest.param([math.nan, 0.0], "harmful", id="no number for the worst"),
        pytest.param([0.0, math.nan], "harmful", id="no number for the mildest is the worst too"),
    ],
)
def test_without_a_number_the_worst_label_is_followed(log_probs, label):
    pytest.importorskip("torch")
    from gr_vl.guard.scoring import Place

    place = Place(Task.PROMPT, (), (), dict.fromkeys(reversed(Task.PROMPT.labels), (1,)))
    assert place.likeliest(log_probs) == label


@pytest.mark.parametrize(
    ("log_probs", "score"),
    [
        pytest.param([math.log(0.3), math.log(0.1)], 0.75, id="three to one"),
        pytest.param([-5.0, -5.0], 0.5, id="a tie"),
        pytest.param([0.0, -math.inf], 1.0, id="nothing else was possible"),
        pytest.param([-2_000.0, 0.0], 0.0, id="beyond what a float divides"),
        pytest.param([math.nan, 0.0], math.nan, id="a model that computed no number"),
    ],
)
def test_a_score_is_the_share_of_the_first_label(log_probs, score):
    pytest.importorskip("torch")
    from gr_vl.guard.scoring import normalised

    assert normalised(log_probs[:1], log_probs[1:]) == pytest.approx(score, abs=1e-12, nan_ok=True)


@pytest.mark.parametrize(
    ("spelled", "score"),
    [
        pytest.param({"unsafe": [1, 2], "unsure": [3], "safe": [4]}, 0.5, id="every label begins with its own token"),
        pytest.param({"unsafe": [1, 2], "unsure": [1, 3], "safe": [4]}, None, id="one token begins two labels"),
    ],
)
def test_listed_tokens_score_only_labels_that_they_tell_apart(spelled, score):
    pytest.importorskip("torch")
    pytest.importorskip("fastapi")
    from gr_vl.chat.completion import Token
    from gr_vl.guard.scoring import Place
    from gr_vl.server.backend import _listed_score

    words = {1: "un", 2: "safe", 3: "sure", 4: "safe!"}

    class Words:
        def decode(self, ids):
            return "".join(words[one] for one in ids)

    task = Task("prompt", ("safe", "unsure", "unsafe"), "unsafe")
    place = Place(task, (), (), {task.label(name): ids for name, ids in spelled.items()})
    listed = [Token("un", {"un": math.log(0.4), "sure": math.log(0.3), "safe!": math.log(0.1)})]
    found = _listed_score(Words(), place, listed)
    assert found == (None if score is None else pytest.approx(score))
