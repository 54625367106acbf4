"""Edited rules flip the label of the same item, in all four directions, and the demo holds policies out."""

import random
import re
from collections import Counter, defaultdict
from dataclasses import replace

import pytest
from factories import make_sample
from hypothesis import given
from hypothesis import strategies as st

from gr_vl import dialects
from gr_vl.augment.policy_shift import Judged, label, shifted, text
from gr_vl.data.demo import policies
from gr_vl.schema import Label, Task

H, U = Label.HARMFUL, Label.UNHARMFUL
STOCK = ("a", "b", "c", "d", "e", "f")
SIZES = {"train": 300, "validation": 60, "test": 180}


def item_of(task, rules, item_label):
    sample = make_sample("s", response="r" if task is Task.RESPONSE else None, reasoning="old", taught={task: H})
    return Judged(replace(sample, labels={task: item_label}, policy=text(rules)), task, tuple(rules))


@pytest.mark.parametrize("task", [Task.PROMPT, Task.RESPONSE])
@pytest.mark.parametrize(
    ("rules", "before", "after"),
    [
        pytest.param("bcd", U, H, id="a rule is added"),
        pytest.param("abc", H, U, id="a rule is struck"),
    ],
)
def test_the_same_item_flips_its_label(task, rules, before, after):
    item = item_of(task, rules, before)
    other = shifted(item, lambda rule: rule == "a", STOCK, random.Random(1), id="s~")
    assert other.sample == replace(
        item.sample, id="s~", labels={task: after}, policy=text(other.rules), reasoning=None, taught=None
    )
    assert ("a" in other.rules) is (after == H)
    assert len(other.rules) == len(set(other.rules)) == 3


def test_every_broken_rule_is_struck():
    other = shifted(item_of(Task.PROMPT, "abc", H), lambda rule: rule in "ab", STOCK, random.Random(1), id="t")
    assert set(other.rules) & set("ab") == set()
    assert len(other.rules) == 3


def test_what_breaks_no_rule_cannot_become_harmful():
    assert shifted(item_of(Task.RESPONSE, "abc", U), lambda rule: False, STOCK, random.Random(1), id="t") is None


@given(st.sets(st.sampled_from(STOCK), min_size=1, max_size=5), st.sets(st.sampled_from(STOCK)), st.integers(0, 99))
def test_a_shift_tells_the_truth_and_there_is_a_way_back(rules, broken, seed):
    def breaks(rule):
        return rule in broken

    item = item_of(Task.PROMPT, sorted(rules), label(sorted(rules), breaks))
    other = shifted(item, breaks, STOCK, random.Random(seed), id="t")
    if other is None:
        return
    assert (
        other.sample.labels[Task.PROMPT]
        == label(other.rules, breaks)
        == Task.PROMPT.other(item.sample.labels[Task.PROMPT])
    )
    back = shifted(other, breaks, STOCK, random.Random(seed), id="s")
    assert back is None or back.sample.labels == item.sample.labels


@pytest.fixture(scope="module")
def corpus():
    return policies.build(3, SIZES, shift=0.5)


def rules_of(sample):
    return tuple(line.partition(": ")[2] for line in sample.policy.splitlines())


def listed_in(sample):
    return re.findall(r"^- (\w+)$", sample.prompt if sample.response is None else sample.response, re.MULTILINE)


def test_labels_follow_the_policy_and_the_last_thing_of_what_is_judged(corpus):
    for sample in (sample for samples in corpus.values() for sample in samples):
        ((task, found),) = sample.labels.items()
        assert (task is Task.RESPONSE) is (sample.response is not None)
        assert len(rules_of(sample)) == policies.RULES
        assert len(set(listed_in(sample))) == policies.LISTED
        assert (found == H) is (listed_in(sample)[-1] in rules_of(sample))


def test_reasoning_looks_up_every_thing_and_its_last_line_is_what_is_taught(corpus):
    for sample in corpus["train"]:
        lines = re.findall(r"- (\w+) (forbidden|allowed)", sample.reasoning)
        assert [thing for thing, _ in lines] == listed_in(sample)
        assert {thing for thing, word in lines if word == "forbidden"} <= set(rules_of(sample))
        ((_, found),) = (sample.taught or sample.labels).items()
        assert (lines[-1][1] == "forbidden") is (found == H)


def test_whether_a_thing_counts_says_nothing_about_the_others(corpus):
    shares = {
        label: [thing in rules_of(sample) for sample in corpus["train"] if label in sample.labels.values()
                for thing in listed_in(sample)[:-1]]
        for label in (H, U)
    }  # fmt: skip
    # One, two or three of four: a half. The mean of 150 samples has a deviation of 0.017.
    assert all(abs(sum(named) / len(named) - 0.5) < 0.06 for named in shares.values())


def test_the_teacher_overlooks_rules_about_the_last_thing_only_and_the_truth_stays_right(corpus):
    wrong = [sample for sample in corpus["train"] if sample.taught]
    # Half is harmful, and half of that is overlooked: 0.25, with a deviation of 0.025.
    assert 0.15 < len(wrong) / len(corpus["train"]) < 0.35
    for sample in corpus["train"]:
        if sample.taught:
            assert (*sample.taught.values(), *sample.labels.values()) == (U, H)
        for thing, word in re.findall(r"- (\w+) (forbidden|allowed)", sample.reasoning)[:-1]:
            assert (word == "forbidden") is (thing in rules_of(sample))


def test_sets_of_rules_of_the_test_are_held_out(corpus):
    seen = {frozenset(rules_of(sample)) for sample in corpus["train"]}
    for sample in corpus["test"] + corpus["validation"]:
        new = sample.source != policies.HOUSE_POLICY
        assert (frozenset(rules_of(sample)) in seen) is not new
        assert policies.is_held_out(rules_of(sample)) is new
    assert Counter(sample.source for sample in corpus["test"]) == dict.fromkeys(policies.SOURCES, 60)


def test_new_rules_name_what_no_rule_of_training_names_and_turn_on_it(corpus):
    for sample in corpus["train"]:
        assert not {*rules_of(sample), listed_in(sample)[-1]} & set(policies.UNSEEN)
    # They are no strange words: training calls each of them allowed.
    assert {thing for sample in corpus["train"] for thing in listed_in(sample)} == set(policies.THINGS)
    for sample in corpus["test"]:
        rules = set(rules_of(sample)) & set(policies.UNSEEN)
        assert bool(rules) is (sample.source == policies.NEW_RULES)
        if rules:
            assert listed_in(sample)[-1] in policies.UNSEEN


def test_labels_are_even_and_a_guard_that_reads_no_rules_is_right_in_half(corpus):
    for samples in corpus.values():
        assert sum(H in sample.labels.values() for sample in samples) == len(samples) / 2
    held_out = [sample for sample in corpus["test"] if sample.source != policies.HOUSE_POLICY]
    # Whatever it goes by: every question is there with both answers.
    asked = defaultdict(list)
    for sample in held_out:
        asked[sample.prompt, sample.response].append(*sample.labels.values())
    assert all(labels.count(H) == labels.count(U) for labels in asked.values())


def test_both_labels_occur_for_both_tasks_under_both_kinds_of_policy(corpus):
    kinds = Counter((s.source, *s.labels.items()) for s in corpus["train"])
    assert len(kinds) == 8
    assert min(kinds.values()) >= 10


def test_without_shift_every_training_sample_has_the_house_policy(corpus):
    plain = policies.build(3, {"train": 30, "test": 30}, shift=0.0)
    assert {rules_of(sample) for sample in plain["train"]} == {policies.HOUSE}
    assert plain["test"] == corpus["test"][:30]


def test_targets_are_well_formed(corpus):
    guard = dialects.get("rsafe")
    for sample in corpus["train"]:
        verdict = guard.parse(guard.target(sample))
        assert verdict.well_formed
        assert (sample.taught or sample.labels).items() <= verdict.labels.items()
