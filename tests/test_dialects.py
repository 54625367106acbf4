"""Every grammar: what is written can be read, hostile answers win nothing, and parsing is total and linear."""

import itertools
import math
import random
import time
from dataclasses import replace
from functools import cache

import hostile_grammars as bad
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gr_vl import dialects
from gr_vl.errors import DataError
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict
from rewards import Reading, SafetyReward, preset_names

H, U, R, C = Label.HARMFUL, Label.UNHARMFUL, Label.REFUSAL, Label.COMPLIANCE
NAMES = tuple(bad.GOOD)
HOSTILE = [
    pytest.param(name, kind, text, id=f"{name}: {kind}")
    for name in NAMES
    for kind, text in (bad.NO_VERDICT[name] | bad.NOT_WELL_FORMED[name]).items()
]
ITEM = Sample("s", "test", "a", "b", labels={Task.PROMPT: H, Task.RESPONSE: U, Task.REFUSAL: R}, reasoning="step")


@cache
def reading(name, text):
    return Reading(dialects.get(name).parse(text), bad.LABELS[name], 40, 70, 300, finished=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_good_answer_is_read_to_the_letter(name):
    outcome = dialects.get(name).parse(bad.GOOD[name])
    assert isinstance(outcome, Verdict)
    assert outcome.well_formed
    assert bad.LABELS[name].items() <= outcome.labels.items()


@pytest.mark.parametrize(("name", "kind", "text"), HOSTILE)
def test_a_hostile_answer_has_no_verdict_or_is_not_well_formed(name, kind, text):
    outcome = reading(name, text).outcome
    if kind in bad.NO_VERDICT[name]:
        assert isinstance(outcome, ParseFailure)
    else:
        assert isinstance(outcome, Verdict)
        assert not outcome.well_formed


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("name", NAMES[1:])
def test_no_reward_pays_a_hostile_answer_more_than_a_good_one(name, preset):
    reward = SafetyReward.from_config({"preset": preset}, name)
    good = reward.score(reading(name, bad.GOOD[name]))
    assert good.accuracy == 1
    for text in (bad.NO_VERDICT[name] | bad.NOT_WELL_FORMED[name]).values():
        found = reward.score(reading(name, text))
        assert math.isfinite(found.total)
        assert found.total <= good.total
        if reward.gate == "tags":
            assert (found.format, found.total < good.total) == (0, True)


@pytest.mark.parametrize("name", NAMES[1:])
def test_time_grows_no_faster_than_the_answer(name):
    parse, good = dialects.get(name).parse, bad.GOOD[name]

    def seconds(text):
        begin = time.process_time()
        parse(text)
        return time.process_time() - begin

    pieces = ["a", "\n", " ", "Answers:\n", "Request: harmful\n", "\\boxed{", "}", "<think>", "</think>", "# "]
    for piece, place in itertools.product(pieces, ["a\n", "unharmful", "Response", "unsafe", "</think>"]):
        size = 2**10
        once, eight = (min(seconds(good.replace(place, piece * n + place)) for _ in range(5)) for n in (size, 8 * size))
        assert eight < 24 * once + 3e-3, (piece, place)


def fragments(name):
    text = bad.GOOD[name]
    cuts = sorted({0, len(text), *(i for i, char in enumerate(text) if char in "\n:<>{}\\ ")})
    return [text[a:b] for a, b in itertools.pairwise(cuts)] + ["harmful", "safe", "None", "\0", "ſ", "#"]


@pytest.mark.parametrize("name", NAMES)
def test_shuffled_grammar_has_an_outcome(name):
    dialect, draw = dialects.get(name), random.Random(1)
    pieces = fragments(name)
    for _ in range(1500):
        outcome = dialect.parse("".join(draw.choices(pieces, k=draw.randint(0, 30))))
        if isinstance(outcome, Verdict):
            assert set(outcome.labels) == set(dialect.tasks)
        else:
            assert outcome.reason in FailureReason


@given(st.text(), st.sampled_from(NAMES))
def test_any_text_has_an_outcome(text, name):
    assert isinstance(dialects.get(name).parse(text), Verdict | ParseFailure)


@pytest.mark.parametrize("labels", list(itertools.product((H, U), (R, C), (H, U))), ids=" ".join)
def test_three_labels_are_written_and_read(labels):
    guard = dialects.get("guardreasoner")
    item = replace(ITEM, labels=dict(zip(guard.tasks, labels, strict=True)))
    assert guard.parse(guard.target(item)) == Verdict(item.labels, "step", well_formed=True)


def test_the_last_block_that_decides_a_task_counts():
    guard = dialects.get("guardreasoner")
    blocks = ["Answers:\nRequest: harmful\nCompletion: refusal", "# Answers:\nRequest: unharmful\nResponse: harmful"]
    end = "Answers:\nRequest: None\nCompletion: None\nResponse: None"
    assert guard.parse("a\n" + "\nb\n".join([*blocks, end])).labels == {
        Task.PROMPT: U,
        Task.REFUSAL: R,
        Task.RESPONSE: H,
    }


@pytest.mark.parametrize(
    ("response", "task", "label", "word"),
    [
        pytest.param(None, Task.PROMPT, H, "unsafe", id="without a response the prompt is asked about"),
        pytest.param("b", Task.RESPONSE, U, "safe", id="with a response only that"),
    ],
)
def test_rsafe_asks_one_question(response, task, label, word):
    guard, item = dialects.get("rsafe"), replace(ITEM, response=response)
    assert guard.expected(item) == {task: label}
    assert guard.target(item) == f"<think>\nstep\n</think>\n\\boxed{{{word}}}"
    assert guard.parse(guard.target(item)).labels[task] == label


def test_rsafe_asks_twice_about_an_exchange_and_each_question_settles_one_task():
    first, second = dialects.get("rsafe").questions(ITEM)
    assert first == (
        replace(ITEM, id="s:prompt", response=None, reasoning=None),
        (Task.PROMPT,),
    )
    assert second == (ITEM, (Task.RESPONSE,))


def test_rsafe_judges_by_the_callers_policy_or_by_its_own():
    guard = dialects.get("rsafe")
    default, own = (
        guard.messages(replace(ITEM, policy=policy))[0]["content"][0]["text"] for policy in (None, "R1: no")
    )
    codes = [line.split(":")[0] for line in default.splitlines() if line.startswith("U")]
    assert codes == [f"U{number}" for number in range(1, 19)]
    assert "\nR1: no\n" in own
    assert "U1" not in own


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["\r\n", "\r", "\x85", "\u2028", "\u2029"], ids=ascii)
def test_other_line_endings_change_neither_verdict_nor_places(name, ending):
    dialect, text = dialects.get(name), bad.GOOD[name].replace("\n", ending)
    assert dialect.parse(text) == dialect.parse(bad.GOOD[name])
    places = dialect.places(text)
    assert places.keys() == dialect.places(bad.GOOD[name]).keys()
    for task, span in dialect.places(bad.GOOD[name]).items():
        assert text[slice(*places[task])] == bad.GOOD[name][slice(*span)]


@pytest.mark.parametrize("name", NAMES)
def test_labels_of_tasks_that_the_grammar_lacks_are_left_out(name):
    dialect = dialects.get(name)
    assert set(dialect.expected(ITEM)) <= set(dialect.tasks)
    assert [task for _, tasks in dialect.questions(ITEM) for task in tasks] == [*dialect.tasks]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("guardreasoner_vl", {Task.PROMPT: H, Task.RESPONSE: U}),
        ("guardreasoner", {Task.PROMPT: H, Task.RESPONSE: U, Task.REFUSAL: C}),
        ("rsafe", {Task.PROMPT: H}),
    ],
)
@pytest.mark.parametrize("labels", [{Task.PROMPT: H}, {Task.PROMPT: H, Task.RESPONSE: H, Task.REFUSAL: R}])
def test_of_a_response_that_is_not_there_no_harm_and_no_refusal_is_expected(name, expected, labels):
    assert dialects.get(name).expected(replace(ITEM, response=None, labels=labels)) == expected


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [{"reasoning": None}, {"labels": {}}], ids=["no reasoning", "no labels"])
def test_a_sample_that_is_no_target_is_named(name, change):
    with pytest.raises(DataError, match="sample 's'"):
        dialects.get(name).target(replace(ITEM, **change))


@pytest.mark.parametrize("name", NAMES[1:])
def test_each_label_has_its_place_in_a_good_answer_and_none_without_a_verdict(name):
    dialect, good = dialects.get(name), bad.GOOD[name]
    words = {"rsafe": {Task.PROMPT: "unsafe", Task.RESPONSE: "unsafe"}}.get(name, bad.LABELS[name])
    assert {task: good[slice(*place)] for task, place in dialect.places(good).items()} == words
    assert not any(dialect.places(text) for text in bad.NO_VERDICT[name].values() if len(text) < 1000)


@pytest.mark.parametrize(("sections", "sectioned"), [(3, True), (2, False)])
def test_three_tasks_take_three_sections(sections, sectioned):
    reasoning = "\n".join(f"# Task {number}\nstep" for number in range(1, sections + 1))
    labels = {Task.PROMPT: H, Task.REFUSAL: C, Task.RESPONSE: H}
    guard = dialects.get("guardreasoner")
    assert guard.parse(guard.answer(labels, reasoning)).sectioned is sectioned


@pytest.mark.parametrize("name", NAMES[1:])
def test_an_answer_states_the_labels_it_is_given(name):
    dialect = dialects.get(name)
    labels = dict.fromkeys(dialect.tasks, H) | ({Task.REFUSAL: C} if Task.REFUSAL in dialect.tasks else {})
    # A single question needs no headings.
    wanted = Verdict(labels, "step", well_formed=True, sectioned=name == "rsafe")
    assert dialect.parse(dialect.answer(labels, "step")) == wanted


def test_reasoning_of_rsafe_begins_at_the_first_opening_tag():
    found = dialects.get("rsafe").parse("<think>a <think>b</think>\\boxed{safe}")
    assert (found.reasoning, found.well_formed) == ("a <think>b", False)
