"""HS-DPO's loss and its gradient: by hand on three tokens, and against a float64 reference on random numbers."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from gr_vl.preference_loss import Pairs, dpo, sums  # noqa: E402 (after the check that torch is there)

finite = st.floats(-60, 0, width=32)


def test_a_three_token_example_by_hand():
    """The right answer has tokens of log-probability -0.5 and -1.0, the wrong one of -2.0; beta 0.5, alpha 1.2.

    The reference gives -1.25, -1.25 and -1.5. A = 0.5 x (-1.5 + 2.5) = 0.5, B = 0.5 x (-2.0 + 1.5) = -0.25.
    """
    log_probs = torch.tensor([-9.0, -0.5, -1.0, -9.0, -2.0], dtype=torch.float64, requires_grad=True)
    mask, lengths = torch.tensor([0, 1, 1, 0, 1]), torch.tensor([3, 2])
    chosen, rejected = sums(log_probs, mask, lengths)
    pairs = Pairs(chosen[None], rejected[None], torch.tensor([-2.5]), torch.tensor([-1.5]))
    loss = dpo(pairs, torch.tensor([1.2]), beta=0.5)
    assert pairs.margins(0.5).item() == pytest.approx(0.75, abs=1e-12)
    # 1.2 x log(1 + exp(-0.75)); 1.2 x 0.5 x 1 / (1 + exp(0.75)) for each token of the right answer.
    assert loss.item() == pytest.approx(0.464245, abs=1e-6)
    loss.sum().backward()
    assert log_probs.grad.tolist() == pytest.approx([0, -0.192493, -0.192493, 0, 0.192493], abs=1e-6)


def reference(c, r, rc, rr, alpha, beta):
    """Loss and gradients of the chosen and the rejected sum, in float64."""
    margin = beta * ((c - rc) - (r - rr))
    slope = alpha * beta / (1 + np.exp(margin))
    return alpha * np.logaddexp(0, -margin), -slope, slope


@given(st.lists(st.tuples(finite, finite, finite, finite), min_size=1, max_size=8), st.sampled_from([0.01, 0.1, 1.0]))
def test_loss_and_gradient_equal_a_float64_reference(rows, beta):
    c, r, rc, rr = np.array(rows, dtype=np.float64).T
    alpha = np.linspace(0.8, 1.2, len(rows))
    chosen, rejected = (torch.tensor(values, requires_grad=True) for values in (c, r))
    loss = dpo(Pairs(chosen, rejected, torch.tensor(rc), torch.tensor(rr)), torch.tensor(alpha), beta)
    loss.sum().backward()
    wanted = reference(c, r, rc, rr, alpha, beta)
    for found, value in zip((loss.detach(), chosen.grad, rejected.grad), wanted, strict=True):
        np.testing.assert_allclose(found.numpy(), value, rtol=1e-6, atol=1e-6)


def test_a_policy_that_is_the_reference_pays_log_two_times_its_weight():
    same = torch.tensor([-3.0, -40.0])
    loss = dpo(Pairs(same, same, same, same), torch.tensor([0.8, 1.2]), beta=0.01)
    assert loss.tolist() == pytest.approx([0.8 * math.log(2), 1.2 * math.log(2)])


def test_a_margin_of_any_size_has_a_finite_loss():
    far = torch.tensor([-1e6, 0.0], requires_grad=True)
    loss = dpo(Pairs(far, far.flip(0), torch.zeros(2), torch.zeros(2)), torch.ones(2), beta=1.0)
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([1e6, 0.0])
    assert torch.isfinite(far.grad).all()


def test_rows_are_summed_apart_and_masked():
    log_probs = torch.tensor([-1.0, -2.0, -4.0, -8.0, -16.0, -32.0])
    found = sums(log_probs, torch.tensor([1, 1, 0, 1, 0, 1]), torch.tensor([2, 1, 3]))
    assert found.tolist() == [-3.0, 0.0, -40.0]
