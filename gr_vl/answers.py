"""From generated token ids to an answer."""

from collections.abc import Sequence
from typing import Any


def reasoning_tokens(tokenizer: Any, ids: Sequence[int], ends: str) -> int:
    """Tokens before the text `ends` (`Dialect.reasoning_ends`) begins; all of them when it is not there.

    Counted on the ids as generated, by decoding prefixes, so that it holds for any tokenizer, whether the tag is one
    token or many.
    """
    text = tokenizer.decode(ids, skip_special_tokens=True)
    end = text.find(ends)
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
