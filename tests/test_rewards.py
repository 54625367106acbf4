"""Rewards against totals computed by hand: every preset, every kind of answer, every length."""

import doctest
import importlib
import math
import pkgutil
from functools import partial
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

import rewards
from gr_vl.schema import FailureReason, Label, ParseFailure, Task, Verdict
from rewards import Reading, SafetyReward, preset_names, terms
from rewards.terms.omni_v2 import OmniV2

LABELS = {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL}
BUDGET = 300
# Reasoning tokens, output tokens, characters. Short: a tenth of the budget, an eighth of 3072 characters. At the cut:
# a sixth of the budget, 250 tokens, 500 characters. Long: the whole budget, twice 250 tokens, 3072 characters.
LENGTHS = {"short": (30, 150, 384), "at the cut": (50, 250, 500), "long": (300, 500, 3072)}


REASONING = "# Task 1\na\n# Task 2\nb"


def answer(request, response):
    return f"<think>{REASONING}</think>\n<result>\nAnswers:\nRequest: {request}\nResponse: {response}\n</result>"


ANSWERS = {
    "right": answer("harmful", "unharmful"),
    "half right": answer("harmful", "harmful"),
    "wrong": answer("unharmful", "harmful"),
    "malformed": answer("harmful", "unharmful") + " and so on",
    "unparsable": "<think>a",
    "unfinished": answer("harmful", "unharmful"),
}
ZERO = (0, 0, 0)
CODE_ECO = {"preset": "released_code", "terms": {"released_code": {"cut": 500}}}
# A row holds right, half right, wrong; then malformed, unparsable, unfinished; each short, at the cut, long.
TABLE = {
    # (r - 1) / min(l, 1)^2 with l = 1/10, 1/6, 1.
    "paper": [ZERO, (-50, -18, -0.5), (-100, -36, -1)] + 3 * [(-100, -36, -1)],
    # The same with min(l, 1/6).
    "eco": [ZERO, (-50, -18, -18), (-100, -36, -36)] + 3 * [(-100, -36, -36)],
    # (r - 1) / (characters / 3072)^2; (3072 / 500)^2 = 37.748736. Only the result counts, not the form.
    "released_code": [ZERO, (-32, -18.874368, -0.5), (-64, -37.748736, -1), ZERO, (-64, -37.748736, -1), ZERO],
    # r + 0.2 tanh(L / 300) unless right: tanh .5 = .46211716, tanh 5/6 = .68226179, tanh 5/3 = .93110961.
    # Its gate asks for blocks in order alone: neither what follows nor a missing end token costs anything.
    "omni_v1": [
        (1, 1, 1),
        (0.59242343, 0.63645236, 0.68622192),
        (0.09242343, 0.13645236, 0.18622192),
        *[(1, 1, 1), ZERO, (1, 1, 1)],
    ],
    # r - 0.4 tanh((L - 250) / 250) if right: tanh 1 = .76159416.
    "omni_v2": [(1, 1, 0.69536234), (0.5, 0.5, 0.5), ZERO, (1, 1, 0.69536234), ZERO, (1, 1, 0.69536234)],
    # 0.9 r + 0.1 gate, of blocks alone.
    "rsafe": [(1, 1, 1), (0.55, 0.55, 0.55), (0.1, 0.1, 0.1), (1, 1, 1), ZERO, (1, 1, 1)],
    # One group holds all six: the smallest step is .5, so r - 0.2 x 0.5 x l where r > 0.
    "bounded": [(0.99, 0.98333333, 0.9), (0.49, 0.48333333, 0.4), ZERO] + 3 * [ZERO],
    "accuracy": [(1, 1, 1), (0.5, 0.5, 0.5), ZERO] + 3 * [ZERO],
    # r - 0.45 l.
    "token_price": [(0.955, 0.925, 0.55), (0.455, 0.425, 0.05)] + 4 * [(-0.045, -0.075, -0.45)],
}
ECO_OF_CODE = [ZERO, (-32, -18.874368, -18.874368), (-64, -37.748736, -37.748736), ZERO, (-64, -37.748736, -37.748736)]


def build(name, **spec):
    return SafetyReward.from_config({"preset": name, "budget": BUDGET, **spec}, "guardreasoner_vl")


def readings(reward, length):
    tokens, output, characters = LENGTHS[length]
    read = partial(reward.read, reasoning_tokens=tokens, output_tokens=output, characters=characters)
    return [read(text, LABELS, finished=kind != "unfinished") for kind, text in ANSWERS.items()]


CELLS = [
    pytest.param(build(name, **extra), kind, length, total, id=f"{title}: {kind}, {length}")
    for title, name, extra, rows in [
        *[(name, name, {}, rows) for name, rows in TABLE.items()],
        ("released_code with Eco's cut", "released_code", {"terms": CODE_ECO["terms"]}, [*ECO_OF_CODE, ZERO]),
    ]
    for kind, totals in zip(ANSWERS, rows, strict=True)
    for length, total in zip(LENGTHS, totals, strict=True)
]


@pytest.mark.parametrize(("reward", "kind", "length", "total"), CELLS)
def test_totals(reward, kind, length, total):
    got = reward.score_group(readings(reward, length))[list(ANSWERS).index(kind)]
    assert got.total == pytest.approx(total, abs=1e-8)
    assert sum(got.terms.values()) == pytest.approx(total, abs=1e-8)


def test_the_table_covers_every_preset():
    assert sorted(TABLE) == preset_names()


@pytest.mark.parametrize("name", preset_names())
@pytest.mark.parametrize("length", LENGTHS)
def test_a_group_scores_as_its_answers_do_one_by_one_unless_a_term_compares_them(name, length):
    reward = build(name)
    group = readings(reward, length)
    same = reward.score_group(group) == [reward.score(reading) for reading in group]
    assert same is not reward.grouped
    assert reward.grouped == (name == "bounded")


def test_alone_an_answer_has_nothing_to_break_a_tie_with():
    assert [build("bounded").score(reading).total for reading in readings(build("bounded"), "long")] == [1, 0.5] + 4 * [
        0
    ]


def test_every_part_is_reported():
    got = build("token_price")(ANSWERS["half right"], LABELS, reasoning_tokens=30)
    assert (got.accuracy, got.format, got.length, got.failure) == (0.5, 1.0, 0.1, "")
    assert got.correct == {Task.PROMPT: True, Task.RESPONSE: False}
    assert got.terms == pytest.approx({"accuracy": 0.5, "token_price": -0.045})


def test_an_unparsable_answer_names_the_failure():
    assert build("paper")("<think>a", LABELS, reasoning_tokens=1).failure == "unclosed_reasoning"


def test_an_unknown_label_is_not_scored():
    got = build("accuracy")(ANSWERS["half right"], {Task.PROMPT: Label.HARMFUL}, reasoning_tokens=0)
    assert (got.accuracy, got.total, got.correct) == (1.0, 1.0, {Task.PROMPT: True})


@pytest.mark.parametrize(
    ("weights", "half"),
    [
        pytest.param({"prompt": 3}, 0.75, id="the prompt counts three times"),
        pytest.param({"response": 0}, 1.0, id="the response does not count"),
        pytest.param({"prompt": 0}, 0.0, id="the prompt does not count"),
    ],
)
def test_tasks_weigh_what_the_recipe_says(weights, half):
    assert build("accuracy", tasks=weights)(ANSWERS["half right"], LABELS, reasoning_tokens=0).total == half


@pytest.mark.parametrize(
    ("reasoning", "total"),
    [
        pytest.param("# Task 1\na\n# Task 2\nb", 1.0, id="a section for every task"),
        pytest.param("# Task 2\nb", 0.0, id="a task left out"),
    ],
)
def test_the_sections_gate_pays_only_for_reasoning_on_every_task(reasoning, total):
    text = ANSWERS["right"].replace(REASONING, reasoning)
    assert build("accuracy", gate="sections")(text, LABELS, reasoning_tokens=0).total == total


def test_without_reasoning_the_floor_keeps_the_paper_finite():
    assert build("paper")(ANSWERS["wrong"], LABELS, reasoning_tokens=0).total == pytest.approx(-400)


@pytest.mark.parametrize(
    ("tokens", "bonus"),
    [
        pytest.param([10, 30, 50, 0], [0.2, 0.1, 0, 0], id="three right ones and a wrong one"),
        pytest.param([7, 7, 7, 0], (*ZERO, 0), id="equally long ones"),
    ],
)
def test_short_answers_gain_among_right_ones_only(tokens, bonus):
    reward = SafetyReward.from_config({"terms": {"short": {"size": 0.2}}}, "guardreasoner_vl")
    texts = 3 * [ANSWERS["right"]] + [ANSWERS["wrong"]]
    group = [reward.read(text, LABELS, reasoning_tokens=count) for text, count in zip(texts, tokens, strict=True)]
    assert [got.total for got in reward.score_group(group)] == pytest.approx(bonus)


def reading(said_prompt, said_response, well_formed, tokens):
    verdict = Verdict({Task.PROMPT: said_prompt, Task.RESPONSE: said_response}, "", well_formed)
    return Reading(verdict, LABELS, tokens, tokens + 9, 4 * tokens, finished=True)


WEIGHT = st.floats(0.01, 100)
HARM = st.sampled_from([Label.HARMFUL, Label.UNHARMFUL])
READING = st.builds(reading, HARM, HARM, st.booleans(), st.integers(0, 700))


@given(st.lists(READING, min_size=2, max_size=16), WEIGHT, WEIGHT, st.floats(0, 0.99))
def test_bounded_keeps_correctness_first_and_length_within_its_bound(group, prompt, response, size):
    reward = build("bounded", tasks={"prompt": prompt, "response": response}, terms={"tie_break": {"size": size}})
    scored = [(got.accuracy * got.format, got.total) for got in reward.score_group(group)]
    levels = sorted({safety for safety, _ in scored})
    gap = min((high - low for low, high in pairwise(levels)), default=0)
    for safety, total in scored:
        for other, against in scored:
            assert safety >= other or total < against
            assert safety != other or abs(total - against) <= size * gap + 1e-12


@given(st.lists(st.integers(0, 700), min_size=2, max_size=16), HARM, HARM)
def test_bounded_leaves_no_advantage_in_a_group_of_equal_correctness(tokens, said_prompt, said_response):
    group = [reading(said_prompt, said_response, True, count) for count in tokens]
    totals = [got.total for got in build("bounded").score_group(group)]
    # Only an exact constant survives a division by the group's standard deviation.
    assert len(set(totals)) == 1


def test_a_price_becomes_a_full_size_advantage_where_bounded_does_not():
    group = [reading(*LABELS.values(), True, tokens) for tokens in (30, 60)]
    cheap = [got.total for got in build("token_price", terms={"token_price": {"price": 1e-3}}).score_group(group)]
    spread = math.dist(cheap, cheap[::-1]) / 2
    # Deviations of 5e-5 from the mean, over a standard deviation of 7.07e-5.
    assert (cheap[0] - sum(cheap) / 2) / spread == pytest.approx(0.7071, abs=1e-4)
    assert len({got.total for got in build("bounded").score_group(group)}) == 1


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.floats(0, 0.4999))
def test_a_price_never_breaks_the_order_by_correctness(tokens, others, price):
    score = build("token_price", terms={"token_price": {"price": price}})
    totals = [
        score(ANSWERS["right"], LABELS, reasoning_tokens=tokens).total,
        score(ANSWERS["half right"], LABELS, reasoning_tokens=others).total,
        score(ANSWERS["wrong"], LABELS, reasoning_tokens=tokens).total,
    ]
    assert 1 >= totals[0] > totals[1] > totals[2] >= -price


def test_the_papers_reward_is_not_ordered_by_correctness():
    wrong = build("paper")(ANSWERS["wrong"], LABELS, reasoning_tokens=300)
    half = build("paper")(ANSWERS["half right"], LABELS, reasoning_tokens=100)
    assert (wrong.total, half.total) == pytest.approx((-1, -4.5))


@pytest.mark.parametrize(
    "outcome",
    [
        *[pytest.param(ParseFailure(reason, "step"), id=f"no verdict: {reason}") for reason in FailureReason],
        pytest.param(Verdict({Task.PROMPT: Label.UNHARMFUL}, "step", well_formed=False), id="a verdict"),
    ],
)
@pytest.mark.parametrize("blocks", [True, False])
def test_a_reading_travels_as_text_and_scores_the_same(outcome, blocks):
    original = Reading(outcome, LABELS, 3, 9, 40, finished=False, blocks=blocks)
    again = Reading.unpack(original.pack())
    assert again.blocks is blocks
    for name in preset_names():
        assert build(name).score(again) == build(name).score(original)


MODULES = [module.name for module in pkgutil.walk_packages(rewards.__path__, "rewards.")]


@pytest.mark.parametrize("module", MODULES)
def test_examples_in_docstrings_hold(module):
    assert doctest.testmod(importlib.import_module(module)).failed == 0


@pytest.mark.parametrize("name", terms.names())
def test_every_term_has_a_worked_example(name):
    assert doctest.testmod(importlib.import_module(f"rewards.terms.{name}")).attempted > 1


# RSafe, by hand: 0.9 x form x right + 0.1 x form, for an answer whose label is unsafe. The form is a think block at the
# start and a box later. Beside it, the same with the whole grammar and an end token for a gate.
RSAFE = [
    pytest.param(r"<think>a</think>\boxed{unsafe}", 1.0, 1.0, id="the grammar to the letter, right"),
    pytest.param(r"<think>a</think>\boxed{safe}", 0.1, 0.1, id="the grammar to the letter, wrong"),
    pytest.param(r"<think>a</think> so \boxed{unsafe}", 1.0, 0.0, id="words before the box, right"),
    pytest.param(r"<think>a</think> so \boxed{safe}", 0.1, 0.0, id="words before the box, wrong"),
    pytest.param(r"<think>a</think>\boxed{unsafe} so.", 1.0, 0.0, id="words after the box, right"),
    pytest.param(r"<think>a</think>\boxed{safe}\boxed{unsafe}", 1.0, 0.0, id="two boxes, the last one right"),
    pytest.param(r"<think>a</think>\boxed{unsafe}\boxed{safe}", 0.1, 0.0, id="two boxes, the last one wrong"),
    pytest.param(r"<think>a</think>\boxed{maybe}", 0.1, 0.0, id="a box with another word"),
    pytest.param(r"<think>a</think>\boxed{}", 0.1, 0.0, id="an empty box"),
    pytest.param(r"<think>a</think>\boxed{\text{unsafe}}", 0.1, 0.0, id="braces in the box"),
    pytest.param(r"<think>a</think>unsafe", 0.0, 0.0, id="no box"),
    pytest.param(r"<think>a</think>\boxed{unsafe", 0.0, 0.0, id="a box that never closes"),
    pytest.param(r"<think>\boxed{unsafe}</think>", 0.0, 0.0, id="a box in the reasoning alone"),
    pytest.param(r"so <think>a</think>\boxed{unsafe}", 0.0, 0.0, id="words before the reasoning"),
    pytest.param(r"<think>a \boxed{unsafe}", 0.0, 0.0, id="reasoning that never closes"),
    pytest.param(r"a</think>\boxed{unsafe}", 0.0, 0.0, id="reasoning that never opens"),
    pytest.param(r"\boxed{unsafe}", 0.0, 0.0, id="a box alone"),
    pytest.param("", 0.0, 0.0, id="nothing"),
]


@pytest.mark.parametrize(("text", "published", "strict"), RSAFE)
def test_rsafes_reward_by_hand(text, published, strict):
    for gate, total in (({}, published), ({"gate": "tags"}, strict)):
        reward = SafetyReward.from_config({"preset": "rsafe", **gate}, "rsafe")
        assert reward(text, {Task.PROMPT: Label.HARMFUL}, reasoning_tokens=1).total == pytest.approx(total)


@pytest.mark.parametrize(("gate", "total"), [({}, 1.0), ({"gate": "tags"}, 0.0)])
def test_rsafe_does_not_ask_whether_an_answer_ended(gate, total):
    reward = SafetyReward.from_config({"preset": "rsafe", **gate}, "rsafe")
    text, labels = r"<think>a</think>\boxed{unsafe}", {Task.PROMPT: Label.HARMFUL}
    assert reward(text, labels, reasoning_tokens=1, finished=False).total == total


RIGHT = "Answers:\nRequest: harmful\nResponse: unharmful\n"


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        pytest.param(f"<think>a</think><result>{RIGHT}</result>", True, id="a think block and a result block"),
        pytest.param(f"So: <think>a</think> hence <result>{RIGHT}</result> it is.", True, id="words around both"),
        pytest.param("<think>a</think><result>no label</result>", True, id="a result without labels"),
        pytest.param(f"<result>{RIGHT}</result><think>a</think>", False, id="the result first"),
        pytest.param(f"<think>a<result>{RIGHT}</result>", False, id="reasoning that never closes"),
        pytest.param(f"<think>a</think><result>{RIGHT}", False, id="a result that never closes"),
        pytest.param(f"<think>a<result>{RIGHT}</result></think>", False, id="the result in the reasoning alone"),
        pytest.param(f"<result>{RIGHT}</result>", False, id="no reasoning"),
        pytest.param("a", False, id="neither"),
    ],
)
@pytest.mark.parametrize("name", ["omni_v1", "omni_v2"])
def test_omnis_gate_is_a_think_block_followed_by_a_result_block(name, text, passes):
    assert build(name)(text, LABELS, reasoning_tokens=1).format == passes


@pytest.mark.parametrize("name", preset_names())
def test_a_word_that_only_the_evaluation_reads_passes_no_gate_of_the_whole_grammar(name):
    reward, text = build(name), answer("harmful", "harmless")
    assert reward(text, LABELS, reasoning_tokens=30).accuracy == 1
    assert reward(text, LABELS, reasoning_tokens=30).format == (reward.gate not in ("tags", "sections"))


def test_a_result_after_reasoning_that_never_closes_is_none_for_the_released_code_here():
    text = "<think>a<result>" + RIGHT + "</result>"
    got = build("released_code")(text, LABELS, reasoning_tokens=1, characters=3072)
    assert (got.total, got.failure) == (-1.0, "unclosed_reasoning")


def test_the_second_omni_reward_has_its_published_numbers_without_a_preset():
    assert OmniV2() == OmniV2(size=0.4, free=250.0)
