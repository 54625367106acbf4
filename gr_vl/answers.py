"""From generated token ids to an answer."""

from collections.abc import Sequence
from typing import Any


def reasoning_tokens(tokenizer: Any, ids: Sequence[int]) -> int:
    """Tokens before `</think>` begins; all of them when nothing closes the reasoning.

    Counted on the ids as generated, by decoding prefixes, so that it holds for any tokenizer, whether the tag is one
    token or many.
    """
    text = tokenizer.decode(ids, skip_special_tokens=True)
    end = text.find("</think>")
    if end < 0:
        return len(ids)
    low, high = 0, len(ids)
    while low < high:
        middle = (low + high) // 2
        if len(tokenizer.decode(ids[: middle + 1], skip_special_tokens=True)) > end:
            high = middle
        else:
            low = middle + 1
    return low
