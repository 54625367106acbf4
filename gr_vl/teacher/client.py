"""Requests to the endpoint: accounted for before and after, repeated only when no answer came.

A request is sent again after 408, 409, 429 and 5xx, after a time-out and after a broken connection: after a wait that
doubles, with jitter, or when Retry-After says. 400, 413, 415 and 422 refuse this one request; any other status would
refuse all of them and ends the run. Every request carries its key as Idempotency-Key, so that servers which know that
header serve it once.
"""

import asyncio
import json
import random
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import httpx2
import openai
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt

from gr_vl.errors import ConfigError
from gr_vl.teacher.budget import Budget, Cost, cost_of, most
from gr_vl.teacher.ledger import Ledger, Rejected, Reply
from gr_vl.teacher.prompt import Request
from gr_vl.teacher.settings import Settings

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, unless Retry-After asks for more."""
REJECTS = {400, 413, 415, 422}
PASSES = {408, 409, 429}
_OUT_OF_MONEY = "insufficient_quota"


class StoppedError(Exception):
    """No request may leave any more."""


class NoReplyError(Exception):
    """A try that brought no answer."""

    def __init__(self, why: str, retry_after: float | None = None) -> None:
        super().__init__(why)
        self.retry_after = retry_after


class Client:
    """One reply for one request, from the journal if it is there."""

    def __init__(self, settings: Settings, ledger: Ledger, budget: Budget, stop: asyncio.Event) -> None:
        self._settings, self._ledger, self._budget, self._stop = settings, ledger, budget, stop
        self.misses, self.answered = 0, False
        """Requests in a row that stayed without an answer, and whether any had one."""
        self._running: dict[str, asyncio.Task[Reply | Rejected]] = {}
        self._openai = openai.AsyncOpenAI(
            api_key=settings.api_key(), base_url=settings.base_url, timeout=settings.timeout, max_retries=0
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    async def ask(self, request: Request, id: str) -> Reply | Rejected:
        """The outcome of a request; equal requests share it, whether they are done, in flight or yet to come.

        Raises NoReplyError after the last try, StoppedError when the run ends, ConfigError when the server refuses us.
        """
        if done := self._ledger.outcomes.get(request.key):
            return done
        if request.key not in self._running:
            task = self._running[request.key] = asyncio.create_task(self._ask(request, id))
            task.add_done_callback(lambda _: self._running.pop(request.key))
        return await self._running[request.key]

    async def _ask(self, request: Request, id: str) -> Reply | Rejected:
        tries = AsyncRetrying(
            retry=retry_if_exception_type(NoReplyError),
            stop=stop_after_attempt(self._settings.tries),
            wait=self._wait,
            sleep=self._sleep,
            reraise=True,
        )
        try:
            outcome: Reply | Rejected = await tries(self._try, request, id)
        except NoReplyError:
            self.misses += 1
            raise
        self.misses, self.answered = 0, True
        return outcome

    async def _try(self, request: Request, id: str) -> Reply | Rejected:
        reserved = most(request, self._settings)
        await self._budget.reserve(reserved)
        try:
            if self._stop.is_set():
                raise StoppedError
            self._ledger.sent(request.key, id, reserved)
            return await self._send(request, reserved)
        finally:
            await self._budget.release(reserved)

    async def _send(self, request: Request, reserved: Cost) -> Reply | Rejected:
        key, ledger = request.key, self._ledger
        try:
            completion = await self._openai.chat.completions.create(
                **cast(Any, request.body), extra_headers={"Idempotency-Key": key}
            )
            reply = self._read(completion, request)
        except openai.APIStatusError as error:
            return self._turned_away(error, key)
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout):
                ledger.unserved(key, "no connection")
                raise NoReplyError(f"no connection to {self._settings.base_url}") from None
            why = "timed out" if isinstance(error, openai.APITimeoutError) else "the connection broke"
        except (openai.APIError, json.JSONDecodeError, _NoCompletionError) as error:
            why = f"no chat completion ({type(error).__name__})"
        else:
            ledger.reply(key, reply)
            return reply
        ledger.lost(key, why, reserved)
        raise NoReplyError(why)

    def _read(self, completion: Any, request: Request) -> Reply:
        if not isinstance(completion, ChatCompletion) or not completion.choices:
            raise _NoCompletionError
        choice, usage = completion.choices[0], completion.usage
        if choice.message is None:
            raise _NoCompletionError
        text = choice.message.content or ""
        used = (usage.prompt_tokens, usage.completion_tokens) if usage else (request.prompt_tokens, request.max_tokens)
        cost = cost_of(*used, self._settings)
        return Reply(text, str(choice.finish_reason), cost.tokens, cost.usd)

    def _turned_away(self, error: openai.APIStatusError, key: str) -> Rejected:
        status, words = error.status_code, self._clean(error)
        if status in REJECTS:
            self._ledger.rejected(key, words)
            return Rejected(words)
        self._ledger.unserved(key, words)
        if (status in PASSES or status >= 500) and error.code != _OUT_OF_MONEY:
            raise NoReplyError(words, _retry_after(error.response.headers.get("retry-after")))
        hint = f"check --base-url, --model and the key in {self._settings.api_key_env}"
        raise ConfigError(f"--base-url {self._settings.base_url}: {words}; {hint}")

    def _clean(self, error: openai.APIStatusError) -> str:
        """Status and message without the key, which some servers repeat."""
        said = "" if error.status_code in (401, 403) else f": {' '.join(error.message.split())[:200]}"
        return f"the server answered {error.status_code}{said}".replace(self._settings.api_key(), "***")

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, NoReplyError) and error.retry_after is not None:
            return error.retry_after
        longest = min(self._settings.backoff * 2 ** (state.attempt_number - 1), LONGEST_WAIT)
        return float(longest * random.uniform(0.5, 1.0))

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        if self._stop.is_set():
            raise StoppedError


class _NoCompletionError(Exception):
    """A reply that is JSON and no chat completion."""


def _retry_after(value: str | None) -> float | None:
    """Seconds that a Retry-After header asks for: a number, or a date."""
    if value is None:
        return None
    with suppress(ValueError):
        return max(float(value), 0.0)
    with suppress(ValueError):
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    return None
