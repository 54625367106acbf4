"""Batched decoding of a Qwen2.5-VL on CPU: equal prompts are read once, and finished rows leave the batch.

`model.generate` reads a prompt as often as it is answered, carries finished rows to the end, and in transformers 5.9
leaves the rotary offsets of one batch behind for the next one that holds no image. Here positions are explicit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from gr_vl.sampling import SeededSampler

COMPACT_SHARE = 0.15
"""Finished rows are dropped once they are this share of the batch: dropping copies the cache of all others."""


@dataclass
class Row:
    """What one prompt has been answered so far."""

    tokens: list[int] = field(default_factory=list)
    log_probs: list[float] = field(default_factory=list)


@torch.inference_mode()
def decode(
    model: Any,
    prompts: dict[str, torch.Tensor],
    copies: Sequence[int],
    sampler: SeededSampler,
    limits: Sequence[int],
    end: int,
) -> list[Row]:
    """Answers to row `copies[i]` of `prompts`, one for each i, until `end` or `limits[i]` tokens.

    `prompts` holds input_ids, attention_mask and mm_token_type_ids (prompts, length), padded on the left, and
    pixel_values with image_grid_thw where there are images.
    """
    cache, mask = DynamicCache(), prompts["attention_mask"]
    positions, offsets = model.model.get_rope_index(
        prompts["input_ids"],
        mm_token_type_ids=prompts["mm_token_type_ids"],
        image_grid_thw=prompts.get("image_grid_thw"),
        attention_mask=mask,
    )
    output = model(**prompts, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
    of = torch.tensor(copies)
    cache.batch_select_indices(of)
    logits, mask, offsets = output.logits[of, -1], mask[of], offsets.reshape(-1)[of]
    rows, alive = [Row() for _ in copies], torch.arange(len(copies))
    for step in range(max(limits)):
        tokens, log_probs = sampler(logits, alive, step)
        written = zip(alive.tolist(), tokens.tolist(), log_probs.tolist(), strict=True)
        open_rows = torch.tensor([_take(rows[i], limits[i], token, log_prob, end) for i, token, log_prob in written])
        if not open_rows.any():
            break
        if (~open_rows).float().mean() >= COMPACT_SHARE:
            cache.batch_select_indices(open_rows.nonzero()[:, 0])
            alive, tokens, mask, offsets = alive[open_rows], tokens[open_rows], mask[open_rows], offsets[open_rows]
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
        here = (mask.sum(1) - 1 + offsets).view(1, -1, 1).expand(3, -1, -1)
        logits = model(
            input_ids=tokens[:, None], attention_mask=mask, position_ids=here, past_key_values=cache, use_cache=True
        ).logits[:, -1]
    return rows


def _take(row: Row, limit: int, token: int, log_prob: float, end: int) -> bool:
    """Write a token down unless the row is finished; whether it is still open afterwards."""
    if len(row.tokens) < limit and end not in row.tokens[-1:]:
        row.tokens.append(token)
        row.log_probs.append(log_prob)
    return len(row.tokens) < limit and row.tokens[-1] != end
