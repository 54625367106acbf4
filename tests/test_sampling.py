"""Seeded sampling: a row's tokens are a function of its seed and its scores, and follow the distribution."""

import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from gr_vl.sampling import Draw, SeededSampler  # noqa: E402

SCORES = torch.tensor([2.0, 1.0, 0.0, -1.0, -2.0])


def choose(draws, scores, forbidden=(), steps=1):
    """Tokens (rows, steps) and their log-probabilities, for the same scores at every step."""
    sampler, rows = SeededSampler(draws, steps, forbidden), torch.arange(len(draws))
    chosen = [sampler(scores.expand(len(draws), -1), rows, step) for step in range(steps)]
    return torch.stack([tokens for tokens, _ in chosen], 1), torch.stack([log_probs for _, log_probs in chosen], 1)


def test_a_row_draws_the_same_when_others_have_left_the_batch():
    draws = [Draw(seed) for seed in range(6)]
    sampler = SeededSampler(draws, 3, [])
    everyone, _ = sampler(SCORES.expand(6, -1), torch.arange(6), 2)
    some, _ = sampler(SCORES.expand(2, -1), torch.tensor([1, 4]), 2)
    assert some.tolist() == everyone[[1, 4]].tolist()


def test_the_same_seed_draws_the_same_tokens_whatever_else_is_in_the_batch():
    alone, _ = choose([Draw(7)], SCORES, steps=40)
    company = [Draw(1), Draw(2, temperature=0.0), Draw(7), Draw(3, top_p=0.5)]
    together, _ = choose(company, SCORES, steps=40)
    assert together[2].tolist() == alone[0].tolist()
    assert together[0].tolist() != alone[0].tolist()


def test_more_room_for_tokens_does_not_change_the_first_ones():
    short, _ = choose([Draw(7)], SCORES, steps=5)
    long, _ = choose([Draw(7)], SCORES, steps=50)
    assert long[0, :5].tolist() == short[0].tolist()


@pytest.mark.parametrize("seed", range(5))
def test_temperature_zero_is_greedy(seed):
    tokens, log_probs = choose([Draw(seed, temperature=0.0)], SCORES, steps=8)
    assert tokens.tolist() == [[0] * 8]
    # log(e^2 / (e^2 + e + 1 + 1/e + 1/e^2))
    total = sum(math.exp(value) for value in (2, 1, 0, -1, -2))
    assert log_probs[0, 0].item() == pytest.approx(2 - math.log(total), abs=1e-6)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.2])
@pytest.mark.parametrize("top_p", [0.9, 1.0])
def test_log_probabilities_are_those_of_the_tempered_untruncated_distribution(temperature, top_p):
    tokens, log_probs = choose([Draw(seed, temperature, top_p) for seed in range(64)], SCORES)
    expected = (SCORES / temperature).log_softmax(-1)[tokens]
    torch.testing.assert_close(log_probs, expected)
    assert len(set(tokens.flatten().tolist())) > 1


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        # The probabilities are .636, .234, .086, .032 and .012.
        pytest.param(0.5, {0}, id="the first covers it"),
        pytest.param(0.7, {0, 1}, id="two cover it"),
        pytest.param(0.95, {0, 1, 2}, id="three cover it"),
        pytest.param(1.0, {0, 1, 2, 3, 4}, id="all"),
        pytest.param(1e-6, {0}, id="never none"),
    ],
)
def test_top_p_keeps_the_fewest_tokens_that_cover_it(top_p, kept):
    tokens, _ = choose([Draw(seed, top_p=top_p) for seed in range(2000)], SCORES)
    assert set(tokens.flatten().tolist()) == kept


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_forbidden_tokens_are_never_chosen(temperature):
    draws = [Draw(seed, temperature) for seed in range(500)]
    tokens, _ = choose(draws, SCORES, forbidden=[0, 3])
    assert set(tokens.flatten().tolist()) == ({1} if temperature == 0 else {1, 2, 4})


@pytest.mark.parametrize(
    ("temperature", "top_p", "forbidden"),
    [
        pytest.param(1.0, 1.0, (), id="plain"),
        pytest.param(0.5, 1.0, (), id="colder"),
        pytest.param(2.0, 1.0, (), id="warmer"),
        pytest.param(1.0, 0.95, (), id="truncated"),
        pytest.param(1.0, 1.0, (1,), id="with a forbidden token"),
    ],
)
def test_frequencies_follow_the_distribution(temperature, top_p, forbidden):
    number = 8000
    tokens, _ = choose([Draw(seed, temperature, top_p) for seed in range(number)], SCORES, forbidden)
    weights = [math.exp(value / temperature) for value in SCORES.tolist()]
    weights = [0.0 if token in forbidden else weight for token, weight in enumerate(weights)]
    if top_p < 1:
        weights = [*weights[:3], 0.0, 0.0]
    expected = [number * weight / sum(weights) for weight in weights]
    seen = torch.bincount(tokens.flatten(), minlength=5).tolist()
    assert all(count == 0 for count, mean in zip(seen, expected, strict=True) if mean == 0)
    square = sum((count - mean) ** 2 / mean for count, mean in zip(seen, expected, strict=True) if mean)
    assert square < 20  # chi-square with at most 4 degrees of freedom: exceeded once in 2,000 samplers


def test_a_token_of_no_weight_is_never_chosen():
    scores = torch.tensor([0.0, -torch.inf, 0.0])
    tokens, _ = choose([Draw(seed) for seed in range(300)], scores)
    assert set(tokens.flatten().tolist()) == {0, 2}
