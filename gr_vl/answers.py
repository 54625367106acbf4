"""From generated token ids to an answer: where it ends, and where its reasoning does."""

from collections.abc import Sequence
from typing import Any


class Ending:
    """When an answer is over: at the end token, or as soon as its text holds one of the dialect's stop texts."""

    def __init__(self, tokenizer: Any, stop: Sequence[str] = ()) -> None:
        self._tokenizer, self._stop = tokenizer, tuple(stop)
        # A token may be one byte of a character; any more tokens than that cannot be part of the text.
        self._reach = max((len(text.encode()) for text in stop), default=0)

    def __call__(self, ids: Sequence[int]) -> bool:
        """Whether these tokens, of which none but the last can be the end, are a whole answer."""
        if ids and ids[-1] == self._tokenizer.eos_token_id:
            return True
        if not self._stop:
            return False
        tail = self._tokenizer.decode(ids[-self._reach :], skip_special_tokens=True)
        return any(text in tail for text in self._stop)

    @property
    def parameters(self) -> dict[str, Any]:
        """Its part of the sampling parameters, by vLLM's names: nothing where the end token is all."""
        return {"stop": list(self._stop), "include_stop_str_in_output": True} if self._stop else {}


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
