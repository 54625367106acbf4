"""Batched decoding and scoring, with or without pictures: equal prompts are read once, finished rows leave the batch.

`model.generate` reads a prompt as often as it is answered, carries finished rows to the end, and in transformers 5.9
leaves the rotary offsets of one batch behind for the next one that holds no image. Here positions are explicit.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from gr_vl.encoding import Encoded
from gr_vl.sampling import SeededSampler

Ended = Callable[[Sequence[int]], bool]
"""Whether the tokens so far are a whole answer: `gr_vl.answers.Ending`."""
COMPACT_SHARE = 0.15
"""Finished rows are dropped once they are this share of the batch: dropping copies the cache of all others."""


@dataclass
class Row:
    """What one prompt has been answered so far."""

    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Continuation:
    """Tokens whose probability is asked for, after a prompt and at least one token of context."""

    prompt: int
    """Row of the prompts."""
    context: Sequence[int]
    tokens: Sequence[int]


def collate(rows: Sequence[Encoded], pad: int, image_token: int | None) -> dict[str, torch.Tensor]:
    """Encoded prompts as one batch, padded on the left; `image_token` is None for a model that reads text alone."""
    width = max(len(row.ids) for row in rows)
    ids = torch.tensor([[pad] * (width - len(row.ids)) + row.ids for row in rows])
    mask = torch.tensor([[0] * (width - len(row.ids)) + [1] * len(row.ids) for row in rows])
    prompts = {"input_ids": ids, "attention_mask": mask}
    if image_token is not None:
        prompts["mm_token_type_ids"] = (ids == image_token).int()
    pictured = [row.features for row in rows if row.features]
    return prompts | {name: torch.cat([row[name] for row in pictured]) for name in (pictured[0] if pictured else ())}


@torch.inference_mode()
def log_probs(model: Any, prompts: dict[str, torch.Tensor], wanted: Sequence[Continuation]) -> list[float]:
    """Log-probability of each continuation's tokens, in nats. Every prompt is read once, whatever is asked about it."""
    cache, _, offsets = _read(model, prompts)
    of, device = torch.tensor([item.prompt for item in wanted]), prompts["input_ids"].device
    cache.batch_select_indices(of.to(device))
    width, last = (max(map(len, parts)) for parts in _parts(wanted))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in _parts(wanted)[0]], device=device)
    here = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in _parts(wanted)[0]], device=device)
    mask = torch.cat([prompts["attention_mask"][of], here], dim=1)
    positions = _axes(prompts, (mask.cumsum(1) - 1)[:, -width:] + offsets[of][:, None])
    output = model(
        input_ids=ids,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=last + 1,
    )
    found = output.logits[:, :-1].float().log_softmax(-1).gather(2, ids[:, -last:, None])[..., 0]
    return [float(row[last - len(item.tokens) :].sum()) for row, item in zip(found, wanted, strict=True)]


def _parts(wanted: Sequence[Continuation]) -> tuple[list[list[int]], list[Sequence[int]]]:
    return [[*item.context, *item.tokens] for item in wanted], [item.tokens for item in wanted]


def _read(model: Any, prompts: dict[str, torch.Tensor]) -> tuple[DynamicCache, torch.Tensor, torch.Tensor]:
    """The cache of all prompts, the logits after each, and how far its positions are from its number of tokens."""
    cache, mask = DynamicCache(), prompts["attention_mask"]
    if "mm_token_type_ids" in prompts:
        positions, offsets = model.model.get_rope_index(
            prompts["input_ids"],
            mm_token_type_ids=prompts["mm_token_type_ids"],
            image_grid_thw=prompts.get("image_grid_thw"),
            attention_mask=mask,
        )
    else:
        positions, offsets = (mask.cumsum(1) - 1).clamp(min=0), mask.new_zeros(len(mask))
    output = model(**prompts, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return cache, output.logits[:, -1], offsets.reshape(-1)


def _axes(prompts: dict[str, torch.Tensor], positions: torch.Tensor) -> torch.Tensor:
    """Positions of text as the model counts them: on three axes, one of them time, where it reads pictures."""
    return positions.expand(3, -1, -1) if "mm_token_type_ids" in prompts else positions


@torch.inference_mode()
def decode(
    model: Any,
    prompts: dict[str, torch.Tensor],
    copies: Sequence[int],
    sampler: SeededSampler,
    limits: Sequence[int],
    ended: Sequence[Ended],
) -> list[Row]:
    """Answers to row `copies[i]` of `prompts`, one for each i, until they are `ended[i]` or have `limits[i]` tokens.

    `prompts` holds input_ids and attention_mask (prompts, length), padded on the left; for a model that reads pictures
    mm_token_type_ids too, and pixel_values with image_grid_thw where there are images.
    """
    cache, logits, offsets = _read(model, prompts)
    of = torch.tensor(copies)
    cache.batch_select_indices(of.to(logits.device))
    logits, mask, offsets = logits[of], prompts["attention_mask"][of], offsets[of]
    rows, alive = [Row() for _ in copies], torch.arange(len(copies))
    for step in range(max(limits)):
        tokens, log_probs = sampler(logits, alive, step)
        written = zip(alive.tolist(), tokens.tolist(), log_probs.tolist(), strict=True)
        open_rows = torch.tensor([_take(rows[i], limits[i], ended[i], *drawn) for i, *drawn in written])
        if not open_rows.any():
            break
        if (~open_rows).float().mean() >= COMPACT_SHARE:
            cache.batch_select_indices(open_rows.nonzero()[:, 0].to(mask.device))
            alive, tokens, mask, offsets = alive[open_rows], tokens[open_rows], mask[open_rows], offsets[open_rows]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        here = _axes(prompts, (mask.sum(1) - 1 + offsets)[:, None])
        logits = model(
            input_ids=tokens[:, None].to(mask.device),
            attention_mask=mask,
            position_ids=here,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]
    return rows


def _take(row: Row, limit: int, ended: Ended, token: int, log_prob: float) -> bool:
    """Write a token down unless the row is finished; whether it is still open afterwards."""
    if len(row.tokens) == limit or ended(row.tokens):
        return False
    row.tokens.append(token)
    row.log_probs.append(log_prob)
    return len(row.tokens) < limit and not ended(row.tokens)
