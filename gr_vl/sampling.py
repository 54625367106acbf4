"""Seeded sampling for `transformers`: each row of a batch draws from a generator of its own.

An answer is then a function of its seed and its prompt, whatever else is in the batch (up to the rounding that another
batch shape brings). Temperature and top-p act as in vLLM; the log-probabilities are those of the tempered, untruncated
distribution, which is what verl's trainer recomputes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import LogitsProcessor


@dataclass(frozen=True)
class Draw:
    """How one row is sampled. Temperature 0 is greedy."""

    seed: int
    temperature: float = 1.0
    top_p: float = 1.0


class SeededSampler(LogitsProcessor):
    """Chooses the next token of every row and leaves only that one possible, for a greedy `generate` to take."""

    def __init__(self, draws: Sequence[Draw], max_tokens: int, forbidden: Sequence[int]) -> None:
        generators = [torch.Generator().manual_seed(draw.seed) for draw in draws]
        self.uniforms = torch.stack([torch.rand(max_tokens, generator=g, dtype=torch.float64) for g in generators])
        self.temperature = torch.tensor([draw.temperature or 1.0 for draw in draws])[:, None]
        self.greedy = torch.tensor([draw.temperature == 0 for draw in draws])
        self.top_p = torch.tensor([draw.top_p for draw in draws], dtype=torch.float64)[:, None]
        self.truncates = any(draw.top_p < 1 for draw in draws)
        self.forbidden = torch.tensor(list(forbidden), dtype=torch.long)
        self.log_probs: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Scores of shape (rows, vocabulary): 0 at the chosen token, -inf elsewhere."""
        log_probs = (scores.float().cpu() / self.temperature).log_softmax(-1)
        allowed = log_probs.index_fill(1, self.forbidden, -torch.inf)
        tokens = torch.where(self.greedy, allowed.argmax(-1), self._sample(allowed))
        self.log_probs.append(log_probs.gather(1, tokens[:, None]).squeeze(1))
        return torch.full_like(scores, -torch.inf).scatter_(1, tokens[:, None].to(scores.device), 0.0)

    def _sample(self, log_probs: torch.Tensor) -> torch.Tensor:
        probs = log_probs.double().softmax(-1)
        if self.truncates:
            probs, order = probs.sort(dim=-1, descending=True, stable=True)
            before = probs.cumsum(-1) - probs
            probs = probs.masked_fill(before >= self.top_p, 0.0)
        edges = probs.cumsum(-1)
        uniform = self.uniforms[:, len(self.log_probs), None].contiguous() * edges[:, -1:]
        choice = torch.searchsorted(edges, uniform, right=True)
        # Rounding may put the draw past the last token that has any probability.
        choice = torch.where(
            probs.gather(1, choice.clamp_(max=probs.shape[1] - 1)) > 0, choice, probs.argmax(-1)[:, None]
        )
        return (order.gather(1, choice) if self.truncates else choice).squeeze(1)
