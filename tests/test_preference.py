"""Pairs for DPO: which samples are hard, which answers are taken, what a pair weighs, and how guards are merged."""

import json
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from factories import make_answer, make_sample
from hypothesis import given
from hypothesis import strategies as st

from gr_vl import dialects
from gr_vl.augment import preference
from gr_vl.augment.preference import Mined, Preference, merge, pairs, weighted
from gr_vl.data import xstest
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, ParseFailure, Task

GUARD = dialects.get("guardreasoner")
REAL = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "xstest"
H, U, R, C = Label.HARMFUL, Label.UNHARMFUL, Label.REFUSAL, Label.COMPLIANCE
TRUTH = {Task.PROMPT: H, Task.RESPONSE: U, Task.REFUSAL: R}
SAMPLE = replace(make_sample("s", response_label=U), labels=TRUTH)


def said(request, completion, response):
    words = {"h": "harmful", "u": "unharmful", "r": "refusal", "c": "compliance"}
    return f"a\n\nAnswers:\nRequest: {words[request]}\nCompletion: {words[completion]}\nResponse: {words[response]}"


def answers(*codes, finished=True):
    """Of each code request, completion and response, or ? for no verdict; the i-th is i + 1 tokens long."""
    texts = [f"{index} {said(*code) if code != '?' else '?'}" for index, code in enumerate(codes)]
    return [make_answer("s", text, index + 1, index=index, finished=finished) for index, text in enumerate(texts)]


def only(found):
    (pair,) = found
    return pair


@pytest.mark.parametrize(
    ("codes", "task", "counts"),
    [
        pytest.param(["hru", "uru", "uru", "uru"], Task.PROMPT, (1, 3), id="the request is mixed"),
        pytest.param(["hru", "hrh", "hrh", "hru"], Task.RESPONSE, (2, 2), id="only the response is mixed"),
        pytest.param(["hru", "hcu", "hru", "hru"], Task.REFUSAL, (3, 1), id="only the refusal is mixed"),
        pytest.param(["hrh", "uru", "hru", "hcu"], Task.PROMPT, (3, 1), id="the request comes first"),
        pytest.param(["ucu", "urh", "ucu", "ucu"], Task.RESPONSE, (3, 1), id="the response before the refusal"),
        pytest.param(["hru", "?", "hru", "hru"], Task.PROMPT, (3, 1), id="no verdict is a wrong answer"),
        pytest.param(["hru"] * 4, None, None, id="all right"),
        pytest.param(["uch"] * 4, None, None, id="all wrong"),
        pytest.param([], None, None, id="no answers"),
    ],
)
def test_the_first_task_with_right_and_wrong_answers_gives_the_pair(codes, task, counts):
    found = pairs([SAMPLE], answers(*codes), GUARD, choice="random", seed=1)
    if task is None:
        assert not found
        return
    pair = only(found)
    assert (pair.task, (pair.correct, pair.incorrect)) == (task, counts)
    good, bad = map(GUARD.parse, (pair.chosen, pair.rejected))
    assert good.labels[task] == TRUTH[task]
    assert isinstance(bad, ParseFailure) or bad.labels[task] == task.other(TRUTH[task])


@pytest.mark.parametrize(
    ("change", "codes"),
    [
        pytest.param({"labels": {Task.RESPONSE: U}}, ["hru", "uru"], id="an unknown request is never hard"),
        pytest.param({"response": None}, ["hru", "hrh"], id="nothing is hard about a response that is not there"),
    ],
)
def test_what_is_not_known_makes_no_pair(change, codes):
    assert not pairs([replace(SAMPLE, **change)], answers(*codes), GUARD, choice="random", seed=1)


def test_an_answer_that_was_cut_off_is_never_chosen():
    assert not pairs([SAMPLE], answers("hru", "uru", finished=False), GUARD, choice="random", seed=1)


@pytest.mark.parametrize(("choice", "taken"), [("longest", ("2", "3")), ("shortest_right", ("0", "3"))])
def test_length_chooses(choice, taken):
    pair = only(pairs([SAMPLE], answers("hru", "uru", "hru", "uru"), GUARD, choice=choice, seed=1))
    assert (pair.chosen[0], pair.rejected[0]) == taken


def test_a_random_pair_is_a_function_of_seed_and_sample():
    given_ = answers("hru", "uru", "hru", "uru")
    found = [only(pairs([SAMPLE], given_, GUARD, choice="random", seed=seed)) for seed in range(40)]
    assert found == [only(pairs([SAMPLE], given_[::-1], GUARD, choice="random", seed=seed)) for seed in range(40)]
    assert {(pair.chosen[0], pair.rejected[0]) for pair in found} == {(a, b) for a in "02" for b in "13"}


def test_an_unknown_choice_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="random, longest, shortest_right"):
        pairs([SAMPLE], [], GUARD, choice="best", seed=1)


def pair(name, source="w", counts=(1, 3), **change):
    sample = replace(SAMPLE, **({"id": name, "source": source, "prompt": name} | change))
    return Preference(sample, Task.PROMPT, "good", "bad", True, *counts)


@pytest.mark.parametrize(
    ("counts", "gamma", "weights"),
    [
        # Differences -2, 0 and 2 of four answers.
        pytest.param([(3, 1), (2, 2), (1, 3)], 0.2, [0.8, 1.0, 1.2], id="both ends are reached"),
        pytest.param([(3, 1), (1, 3), (1, 3)], 0.5, [0.5, 1.5, 1.5], id="another gamma"),
        pytest.param([(2, 2), (1, 3)], 0.2, [0.8, 1.2], id="the ends are the set's own"),
        pytest.param([(1, 3), (1, 3)], 0.2, [1.0, 1.0], id="one difference alone"),
        pytest.param([(3, 1), (1, 3)], 0.0, [1.0, 1.0], id="unweighted"),
        pytest.param([], 0.2, [], id="no pairs"),
    ],
)
def test_harder_pairs_weigh_more(counts, gamma, weights):
    found = weighted([pair(str(index), counts=count) for index, count in enumerate(counts)], gamma)
    assert [item.weight for item in found] == pytest.approx(weights, abs=1e-12)


@given(st.lists(st.integers(1, 7), min_size=1, max_size=20), st.floats(0, 0.99))
def test_weights_stay_in_their_range_and_in_order(rights, gamma):
    found = weighted([pair("p", counts=(right, 8 - right)) for right in rights], gamma)
    assert all(1 - gamma - 1e-12 <= item.weight <= 1 + gamma + 1e-12 for item in found)
    if len(set(rights)) > 1:
        ends = min(item.weight for item in found), max(item.weight for item in found)
        assert ends == pytest.approx((1 - gamma, 1 + gamma))
    ordered = sorted(found, key=lambda item: item.correct)
    assert all(a.weight >= b.weight - 1e-12 for a, b in pairwise(ordered))


def test_a_gamma_that_would_unlearn_is_refused():
    with pytest.raises(ConfigError, match=r"gamma=1\.0"):
        weighted([], 1.0)


def test_the_ensemble_takes_each_source_from_the_guards_that_saw_it():
    full = [pair("w1"), pair("a1", "aegis"), pair("b1", "beaver")]
    no_aegis = Mined([pair("w2"), pair("b2", "beaver"), pair("t2", "toxic")], frozenset({"aegis"}))
    no_beaver = Mined([pair("w3"), pair("a3", "aegis"), pair("t3", "toxic")], frozenset({"beaver"}))
    no_toxic = Mined([pair("a4", "aegis"), pair("b4", "beaver")], frozenset({"toxic"}))
    merged = merge(full, [no_aegis, no_beaver, no_toxic])
    # The full guard's own pairs of a source that some guard lacks are not used, as in the released code.
    assert [item.sample.id for item in merged] == ["w1", "b2", "t2", "a3", "t3", "a4", "b4"]


def test_the_papers_ensemble_takes_every_pair_of_every_guard_once():
    full = [pair("w1"), pair("a1", "aegis")]
    no_aegis = Mined([pair("w2"), pair("b2", "beaver")], frozenset({"aegis"}))
    no_beaver = Mined([pair("a1", "aegis", counts=(3, 1)), pair("a3", "aegis")], frozenset({"beaver"}))
    merged = {item.sample.id: item for item in merge(full, [no_aegis, no_beaver], rule="paper")}
    assert sorted(merged) == ["a1", "a3", "b2", "w1", "w2"]
    assert merged["a1"] == full[1]
    assert merge(full, [], rule="paper") == merge(full, [])


def test_an_unknown_way_to_merge_is_refused():
    with pytest.raises(ConfigError, match=r"gr_vl\.pairs\.merge='all' is unknown; use one of: released, paper"):
        merge([], [], rule="all")


def test_a_guard_gives_no_pair_of_a_source_that_it_was_trained_without():
    no_aegis = Mined([pair("a2", "aegis"), pair("b2", "beaver")], frozenset({"aegis"}))
    no_beaver = Mined([pair("a3", "aegis"), pair("b3", "beaver")], frozenset({"beaver"}))
    assert [item.sample.id for item in merge([], [no_aegis, no_beaver])] == ["b2", "a3"]


def test_of_equal_inputs_the_first_pair_is_kept():
    reduced = [
        Mined([pair("x", "a"), pair("y", "a")], frozenset({"b"})),
        Mined([pair("y", "b"), pair("z", "b")], frozenset("a")),
    ]
    assert [item.sample.id for item in merge([], reduced)] == ["x", "y", "z"]
    twins = [
        pair("1", prompt="p"),
        pair("2", prompt="p"),
        pair("3", prompt="p", images=(b"1",)),
        pair("4", prompt="p", policy="R"),
    ]
    assert [item.sample.id for item in merge(twins, [])] == ["1", "3", "4"]


def test_pairs_survive_the_file(tmp_path):
    found = [replace(pair("a"), weight=0.8, rejected_ended=False), pair("b", images=(b"\x89PNG",), policy="R1: x")]
    preference.write(tmp_path / "pairs.parquet", found, dialects.spec("guardreasoner"))
    assert preference.read(tmp_path / "pairs.parquet") == found
    assert preference.count(found) == {"n": 2, "source/w": 2, "task/prompt": 2}
    with pytest.raises(DataError, match=r"no\.parquet: no such file"):
        preference.read(tmp_path / "no.parquet")


def words(text):
    return " ".join(text.split())


@pytest.mark.skipif(not REAL.is_dir(), reason="the XSTest files are not at ../shared/data/xstest")
def test_real_answers_of_two_released_guards_make_pairs():
    refusals = {words(row["input"]): row["output"] for row in json.loads((REAL / "response_refusal.json").read_text())}
    samples = {words(f"Human user: {s.prompt} AI assistant: {s.response}"): s for s in xstest.load(REAL).samples}
    labelled = {
        text: replace(sample, labels={**sample.labels, Task.REFUSAL: Label(refusals[text])})
        for text, sample in samples.items()
        if text in refusals
    }
    told, k = [], 0
    for model in ("1B", "3B"):
        for task in ("harmful", "refusal"):
            file = REAL / "predictions" / f"guardreasoner_{model}_response_{task}.jsonl"
            for row in map(json.loads, file.read_text().splitlines()):
                text = words("".join(row["prompt"].partition("Human user:\n")[1:]))
                if text in labelled:
                    told.append(make_answer(labelled[text].id, row["predict"], len(row["predict"]), index=k))
            k += 1
    found = weighted(pairs(labelled.values(), told, GUARD, choice="longest", seed=1), 0.2)
    for item in found:
        labels = [GUARD.parse(text) for text in (item.chosen, item.rejected)]
        assert labels[0].labels[item.task] == item.sample.labels[item.task]
        assert isinstance(labels[1], ParseFailure) or labels[1].labels[item.task] != labels[0].labels[item.task]
    assert {min(item.weight for item in found), max(item.weight for item in found)} == {0.8, 1.2}
    assert (len(labelled), len(told)) == (445, 4 * 445)
    assert Counter(item.task for item in found) == {Task.PROMPT: 33, Task.RESPONSE: 9, Task.REFUSAL: 11}
