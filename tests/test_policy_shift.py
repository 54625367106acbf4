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
from gr_vl.data.demo import forgetful, policies
from gr_vl.schema import Label, Modality, Task

H, U, *_ = Label
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
    assert ("a" in other.rules) is (after is H)
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
    assert other.sample.labels[Task.PROMPT] is label(other.rules, breaks) is item.sample.labels[Task.PROMPT].opposite
    back = shifted(other, breaks, STOCK, random.Random(seed), id="s")
    assert back is None or back.sample.labels == item.sample.labels


@pytest.fixture(scope="module")
def corpus():
    return policies.build(3, SIZES, shift=0.5)


def rules_of(sample):
    return tuple(line.partition(": ")[2] for line in sample.policy.splitlines())


def test_labels_follow_the_policy_and_nothing_else(corpus):
    for sample in (sample for samples in corpus.values() for sample in samples):
        ((task, found),) = sample.labels.items()
        assert (task is Task.RESPONSE) is (sample.response is not None)
        if sample.modality is Modality.TEXT:
            said = sample.prompt if task is Task.PROMPT else sample.response
            named = [rule for rule in rules_of(sample) if rule in said]
            assert (found is H) is (bool(named) and not refuses(sample))


def refuses(sample):
    return "efuse" in sample.reasoning


def test_reasoning_ends_in_what_is_taught_and_numbers_rules_as_they_stand(corpus):
    for sample in corpus["train"]:
        ((_, found),) = (sample.taught or sample.labels).items()
        numbers = re.findall(r"about ([\w ]+)\. R(\d) names it", sample.reasoning)
        assert bool(numbers) is (found is H)
        assert all(rules_of(sample)[int(number) - 1] == thing for thing, number in numbers)


def test_the_teacher_overlooks_late_rules_only_and_the_truth_stays_right(corpus):
    wrong = [sample for sample in corpus["train"] if sample.taught]
    # Half is harmful, half of that by a late rule, and 0.7 of that is overlooked: 0.175, less where two things count.
    assert 0.1 < len(wrong) / len(corpus["train"]) < 0.2
    for sample in wrong:
        assert (*sample.taught.values(), *sample.labels.values()) == (U, H)
        assert any(rule in sample.reasoning for rule in rules_of(sample)[-forgetful.LATE :])


def test_sets_of_rules_of_the_test_are_held_out(corpus):
    seen = {frozenset(rules_of(sample)) for sample in corpus["train"]}
    for sample in corpus["test"] + corpus["validation"]:
        new = sample.source != policies.HOUSE_POLICY
        assert (frozenset(rules_of(sample)) in seen) is not new
        assert policies.is_held_out(rules_of(sample)) is new
    assert Counter(sample.source for sample in corpus["test"]) == dict.fromkeys(policies.SOURCES, 60)


def test_new_rules_name_what_training_never_speaks_of_and_turn_on_it(corpus):
    for sample in corpus["train"]:
        words = f"{sample.prompt} {sample.response} {sample.policy}"
        assert not any(name in words for name in policies.UNSEEN)
    for sample in corpus["test"]:
        rules = set(rules_of(sample)) & set(policies.UNSEEN)
        assert bool(rules) is (sample.source == policies.NEW_RULES)
        if rules:
            said = sample.response or sample.prompt
            ((_, found),) = sample.labels.items()
            assert any(name in said for name in rules) is (found is H)


def accuracy_of_blind_rule(samples):
    """How often "unsafe unless the answer refuses" is right."""
    return sum((U if refuses(s) else H) in s.labels.values() for s in samples) / len(samples)


def test_labels_are_even_and_a_guard_that_reads_no_rules_is_right_in_half(corpus):
    for samples in corpus.values():
        assert sum(H in sample.labels.values() for sample in samples) == len(samples) / 2
    held_out = [sample for sample in corpus["test"] if sample.source != policies.HOUSE_POLICY]
    assert accuracy_of_blind_rule(held_out) == 0.5
    # Whatever else it goes by: every question is there with both answers.
    asked = defaultdict(list)
    for sample in held_out:
        asked[sample.prompt, sample.response, sample.images].append(*sample.labels.values())
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
