"""Seeded sampling for `transformers`: each row of a batch draws from a generator of its own.

An answer is then a function of its seed and its prompt, whatever else is in the batch (up to the rounding that another
batch shape brings). Temperature and top-p act as in vLLM; the log-probabilities are those of the tempered, untruncated
distribution, which is what verl's trainer recomputes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

VISION_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
"""No answer may hold one of these: it would be counted against the images of the prompt."""


def vision_ids(tokenizer: Any) -> list[int]:
    """Ids of the vision tokens that a tokenizer has: none, where the model reads text alone."""
    return [index for index, token in tokenizer.added_tokens_decoder.items() if str(token) in VISION_TOKENS]


@dataclass(frozen=True)
class Draw:
    """How one row is sampled. Temperature 0 is greedy."""

    seed: int
    temperature: float = 1.0
    top_p: float = 1.0


class SeededSampler:
    """Chooses the next token of every row that is still being written."""

    def __init__(self, draws: Sequence[Draw], max_tokens: int, forbidden: Sequence[int]) -> None:
        generators = [torch.Generator().manual_seed(draw.seed) for draw in draws]
        self.uniforms = torch.stack([torch.rand(max_tokens, generator=g, dtype=torch.float64) for g in generators])
        self.temperature = torch.tensor([draw.temperature or 1.0 for draw in draws])[:, None]
        self.greedy = torch.tensor([draw.temperature == 0 for draw in draws])
        self.top_p = torch.tensor([draw.top_p for draw in draws], dtype=torch.float64)[:, None]
        self.forbidden = torch.tensor(list(forbidden), dtype=torch.long)

    def __call__(self, logits: torch.Tensor, rows: torch.Tensor, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens and their log-probabilities for `logits` of shape (rows, vocabulary), at `step` of these rows."""
        log_probs = (logits.float().cpu() / self.temperature[rows]).log_softmax(-1)
        allowed = log_probs.index_fill(1, self.forbidden, -torch.inf)
        tokens = allowed.argmax(-1)
        if not self.greedy[rows].all():
            tokens = torch.where(self.greedy[rows], tokens, self._sample(allowed, rows, step))
        return tokens, log_probs.gather(1, tokens[:, None]).squeeze(1)

    def _sample(self, log_probs: torch.Tensor, rows: torch.Tensor, step: int) -> torch.Tensor:
        probs, order = log_probs.double().softmax(-1), None
        if (self.top_p[rows] < 1).any():
            probs, order = probs.sort(dim=-1, descending=True, stable=True)
            probs = probs.masked_fill(probs.cumsum(-1) - probs >= self.top_p[rows], 0.0)
        edges = probs.cumsum(-1)
        uniform = (self.uniforms[rows, step][:, None] * edges[:, -1:]).contiguous()
        choice = torch.searchsorted(edges, uniform, right=True).clamp_(max=probs.shape[1] - 1)
        # Rounding may put the draw past the last token that has any probability.
        choice = torch.where(probs.gather(1, choice) > 0, choice, probs.argmax(-1, keepdim=True))
        return (choice if order is None else order.gather(1, choice)).squeeze(1)
