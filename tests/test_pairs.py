"""Which samples are joined: uniform or balanced, a function of seed and samples alone."""

from collections import Counter
from functools import partial

import pytest
from factories import make_png, make_sample
from hypothesis import given
from hypothesis import strategies as st

from gr_vl.augment import pairs
from gr_vl.augment.concat import augmented_set, concatenate
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Modality, Task

H, U = Label.HARMFUL, Label.UNHARMFUL
either = partial(pairs.worst, Task.PROMPT)
ANY = st.sampled_from([H, U, None])
PNG = make_png(0, (8, 8))


@given(ANY, ANY)
def test_or_is_commutative(a, b):
    assert either((a, b)) == either((b, a))


@given(ANY, ANY, ANY)
def test_or_is_associative_and_takes_any_number(a, b, c):
    left = either((either((a, b)), c))
    assert left == either((a, either((b, c)))) == either((a, b, c))


@given(ANY)
def test_unharmful_is_neutral_harmful_absorbs_and_all_are_idempotent(a):
    assert either((a, U)) == either((U, a)) == either((a, a)) == a
    assert either((a, H)) == H


def labelled(harmful, unharmful, unknown=0):
    kinds = [H] * harmful + [U] * unharmful + [None] * unknown
    return [make_sample(f"s{index:03d}", label) for index, label in enumerate(kinds)]


def counts(samples):
    return dict(Counter(sample.labels.get(Task.PROMPT) for sample in samples))


@pytest.mark.parametrize(
    ("pool", "share", "result"),
    [
        pytest.param((30, 30), 0.25, {H: 40, U: 40}, id="an even pool stays even"),
        pytest.param((45, 15), 0.25, {H: 45, U: 35}, id="all pairs go to the rarer class"),
        pytest.param((15, 45), 0.25, {H: 35, U: 45}, id="whichever that is"),
        pytest.param((28, 32), 0.25, {H: 40, U: 40}, id="first the rarer, then by turns"),
        pytest.param((60, 0), 0.25, {H: 80}, id="what the pool cannot give is not asked for"),
        pytest.param((59, 1), 0.25, {H: 79, U: 1}, id="one unharmful sample makes no unharmful pair"),
        pytest.param((20, 20, 20), 0.25, {H: 30, U: 30, None: 20}, id="no pair is made to be unknown"),
        pytest.param((0, 0, 60), 0.25, {None: 80}, id="unless nothing else can be"),
    ],
)
def test_labels_come_out_as_even_as_the_pool_allows(pool, share, result):
    assert counts(augmented_set(labelled(*pool), share, seed=3, balance="label")) == result


def test_uniform_pairs_are_mostly_harmful():
    mixtures = augmented_set(labelled(100, 100), 0.5, seed=3)[200:]
    assert 130 <= counts(mixtures)[H] <= 170


def of_modalities(text, image, text_image):
    samples = [make_sample(f"t{index}") for index in range(text)]
    samples += [make_sample(f"i{index}", prompt="", images=(PNG,)) for index in range(image)]
    return samples + [make_sample(f"b{index}", images=(PNG,)) for index in range(text_image)]


@pytest.mark.parametrize(
    ("pool", "result"),
    [
        pytest.param((10, 10, 10), (20, 20, 20), id="an even pool stays even"),
        pytest.param((4, 4, 22), (19, 19, 22), id="the rarer two come up"),
        pytest.param((30, 0, 0), (60, 0, 0), id="texts make texts"),
        pytest.param((15, 15, 0), (20, 20, 20), id="a text and an image make both"),
        pytest.param((0, 15, 15), (0, 30, 30), id="images make no text"),
    ],
)
def test_modalities_come_out_as_even_as_the_pool_allows(pool, result):
    made = Counter(item.modality for item in augmented_set(of_modalities(*pool), 0.5, seed=3, balance="modality"))
    assert tuple(made[modality] for modality in (Modality.TEXT, Modality.IMAGE, Modality.TEXT_IMAGE)) == result


@pytest.mark.parametrize("balance", pairs.CHOICES)
def test_pairs_are_a_function_of_seed_and_samples(balance):
    pool = labelled(20, 40, 5)
    drawn = pairs.draw(pool, 50, 1, balance)
    assert all(a.id != b.id for a, b in drawn)
    assert pairs.draw(pool[::-1], 50, 1, balance) == drawn
    assert pairs.draw(pool, 20, 1, balance) == drawn[:20]
    assert pairs.draw(pool, 50, 2, balance) != drawn
    assert {a.id for a, _ in drawn} & {b.id for _, b in drawn}


@given(st.lists(ANY, min_size=2, max_size=12), st.integers(0, 9), st.sampled_from(["label", "modality"]))
def test_a_balanced_pair_is_of_the_kind_it_was_drawn_for(labels, seed, balance):
    pool = [make_sample(f"s{index}", label) for index, label in enumerate(labels)]
    kind_of, kind_of_two = pairs.BALANCES[balance](pool)
    for a, b in pairs.draw(pool, 6, seed, balance):
        assert kind_of(concatenate(a, b)) == kind_of_two(kind_of(a), kind_of(b))


def test_an_unknown_balance_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match="uniform, label, modality"):
        pairs.draw(labelled(2, 2), 1, 0, "age")


@pytest.mark.parametrize("balance", pairs.CHOICES)
def test_one_sample_makes_no_pair(balance):
    with pytest.raises(DataError, match="takes two samples"):
        pairs.draw(labelled(1, 0), 1, 0, balance)
