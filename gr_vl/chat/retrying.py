"""When a request is sent again: what serving a guard needs no library for, so it stands apart from `client`."""

import asyncio
import random
from collections.abc import Awaitable, Callable

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from gr_vl.chat.client import NoCompletionError

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, unless Retry-After asks for more."""


def retrying(
    tries: int,
    backoff: float,
    again: Callable[[NoCompletionError], bool],
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> AsyncRetrying:
    """Repeats what ends in such an error, at most so often: when Retry-After says, or after a wait that doubles."""

    def wait(state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, NoCompletionError) and error.retry_after is not None:
            return error.retry_after
        longest = min(backoff * 2.0 ** (state.attempt_number - 1), LONGEST_WAIT)
        return longest * random.uniform(0.5, 1.0)

    return AsyncRetrying(
        retry=retry_if_exception(lambda error: isinstance(error, NoCompletionError) and again(error)),
        stop=stop_after_attempt(tries),
        wait=wait,
        sleep=sleep,
        reraise=True,
    )
