"""One request to an OpenAI-compatible endpoint: its completion, or why there is none.

A server may refuse `max_tokens` (OpenAI's newer models want `max_completion_tokens`) or a temperature of 0. When it
says so, the request is sent in the form that it takes, all later ones are too, and a line on standard error says so.
"""

import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from gr_vl.chat.completion import Completion, UnreadableError, decoded, read
from gr_vl.chat.refusal import Kind, Refusal, refusal


class NoCompletionError(Exception):
    """A request that brought no completion; the message is one line, without the key."""

    def __init__(
        self, why: str, kind: Kind, *, served: bool = False, status: int | None = None, after: float | None = None
    ) -> None:
        super().__init__(why)
        self.kind, self.status, self.retry_after = kind, status, after
        self.served = served
        """Whether the server may have done, and charged for, the work."""


class Chat:
    """Connections to one endpoint."""

    def __init__(self, base_url: str, api_key: str, timeout: float, *, once: bool = False) -> None:
        self._url, self._key, self._once = base_url, api_key, once
        """`once` asks servers that know Idempotency-Key to serve equal requests once."""
        self._openai = openai.AsyncOpenAI(api_key=api_key, base_url=base_url, timeout=timeout, max_retries=0)
        self._renamed: dict[str, str | None] = {}
        """Fields of the form that this server takes under another name, or not at all."""

    async def close(self) -> None:
        """Close the connections."""
        await self._openai.close()

    async def send(self, body: Mapping[str, Any]) -> Completion:
        """Send a request once, in the form that the server takes. Raises NoCompletionError."""
        while True:
            form = {self._renamed.get(name, name): value for name, value in body.items()}
            sent = {name: value for name, value in form.items() if name is not None}
            found = await self._send(sent)
            if isinstance(found, Completion):
                return found
            if not self._adapt(sent, found):
                raise NoCompletionError(self._clean(found), found.kind, status=found.status)

    async def _send(self, body: dict[str, Any]) -> Completion | Refusal:
        # The key of what is sent: another form of a request is another one.
        key = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        headers = {"Idempotency-Key": key} if self._once else {}
        try:
            response = await self._openai.post(
                "/chat/completions", cast_to=httpx2.Response, body=body, options={"headers": headers}
            )
        except openai.APIStatusError as error:
            return self._refused(error)
        except openai.APIConnectionError as error:
            if isinstance(error.__cause__, httpx2.ConnectError | httpx2.ConnectTimeout):
                raise NoCompletionError(f"no connection to {self._url}", Kind.PASSING) from None
            why = "timed out" if isinstance(error, openai.APITimeoutError) else "the connection broke"
            raise NoCompletionError(why, Kind.PASSING, served=True) from None
        try:
            found = decoded(response.content)
            if isinstance(found, dict) and found.get("error") and not found.get("choices"):
                return _checked(refusal(response.status_code, found), response.headers, self._clean)
            return read(found)
        except UnreadableError as error:
            raise NoCompletionError(f"the server sent no chat completion: {error}", Kind.UNCLEAR, served=True) from None

    def _refused(self, error: openai.APIStatusError) -> Refusal:
        try:
            body = decoded(error.response.content)
        except UnreadableError:
            body = error.response.text
        return _checked(refusal(error.status_code, body), error.response.headers, self._clean)

    def _adapt(self, sent: dict[str, Any], found: Refusal) -> bool:
        """Whether another form of the request is worth sending."""
        words, says = found.words, found.kind is Kind.SETTINGS
        if found.kind not in (Kind.SETTINGS, Kind.UNCLEAR):
            return False
        # vLLM names both fields where their value is too large for one prompt.
        instead = "max_completion_tokens" in words and (says or "instead" in words)
        if "max_tokens" in sent and instead and found.param in ("max_tokens", ""):
            self._renamed["max_tokens"] = "max_completion_tokens"
            said = "takes max_completion_tokens in place of max_tokens: it is sent so from here on"
        elif "temperature" in sent and (
            found.param == "temperature" or (not found.param and "temperature" in words and "support" in words)
        ):
            self._renamed["temperature"] = None
            said = (
                "takes no temperature of 0: none is sent from here on, and the model's own rules, so answers may vary"
            )
        else:
            return False
        sys.stderr.write(f"{self._url} {said}\n")
        return True

    def _clean(self, found: Refusal) -> str:
        """Status and message without the key, which some servers repeat."""
        said = "" if found.status in (401, 403) or not found.words else f": {found.words}"
        words = f"the server answered {found.status}{said}"
        # A shorter one is a word for a server that wants none, and part of others.
        return words.replace(self._key, "***") if len(self._key) >= 8 else words


def _checked(found: Refusal, headers: Any, clean: Callable[[Refusal], str]) -> Refusal:
    """The refusal, unless it passes: that one is raised, with the time to wait."""
    if found.kind is Kind.PASSING:
        raise NoCompletionError(clean(found), found.kind, status=found.status, after=_retry_after(headers)) from None
    return found


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait for: milliseconds, seconds or a date."""
    milliseconds, value = headers.get("retry-after-ms", ""), headers.get("retry-after", "")
    for read_seconds, written in ((_thousandth, milliseconds), (float, value), (_until, value)):
        with suppress(ValueError, OverflowError):
            if math.isfinite(seconds := read_seconds(written)):
                return max(seconds, 0.0)
    return None


def _thousandth(number: str) -> float:
    return float(number) / 1000


def _until(date: str) -> float:
    return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
