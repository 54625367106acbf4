"""HS-DPO's loss as pure functions of log-probabilities (GuardReasoner, arXiv 2501.18492, equation 2).

    L = mean over pairs of  -alpha log sigmoid(A - B) + w NLL(chosen)
    A = beta log(P(chosen) / P_ref(chosen)),  B = beta log(P(rejected) / P_ref(rejected))

with beta 0.01 and w 2. The paper does not normalise the added SFT loss in words; here NLL is the mean over
the chosen answer's tokens, as in LLaMA-Factory, with which it was trained, and alpha weighs the first term alone.
"""

from dataclasses import dataclass

import torch
from torch.nn.functional import logsigmoid


@dataclass(frozen=True)
class Pairs:
    """Log-probabilities of whole answers, one entry a pair: sums over their tokens."""

    chosen: torch.Tensor
    rejected: torch.Tensor
    reference_chosen: torch.Tensor
    reference_rejected: torch.Tensor

    def margins(self, beta: float) -> torch.Tensor:
        """A - B: above 0 where the policy prefers the right answer more than the reference does."""
        return beta * ((self.chosen - self.reference_chosen) - (self.rejected - self.reference_rejected))


def dpo(pairs: Pairs, alpha: torch.Tensor, beta: float) -> torch.Tensor:
    """-alpha log sigmoid(A - B) of each pair.

    >>> one, two = torch.tensor([-1.0]), torch.tensor([-2.0])
    >>> round(float(dpo(Pairs(one, two, one, two), torch.tensor([1.0]), beta=0.1)), 4)
    0.6931
    """
    return -alpha * logsigmoid(pairs.margins(beta))


def sums(log_probs: torch.Tensor, mask: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Sums over the masked tokens of each row; rows of the given lengths stand one after another.

    >>> sums(torch.tensor([-1.0, -2.0, -4.0]), torch.tensor([1, 1, 0]), torch.tensor([1, 2]))
    tensor([-1., -2.])
    """
    rows = torch.repeat_interleave(torch.arange(len(lengths), device=lengths.device), lengths)
    return log_probs.new_zeros(len(lengths)).index_add(0, rows, log_probs * mask)
