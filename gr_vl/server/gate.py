"""What every request passes before anything looks into it: key, encoding, size, memory and time."""

import asyncio
import hmac
import logging
import time
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gr_vl.server.metrics import Metrics
from gr_vl.server.settings import Settings

DRAIN = 4
"""A body that is refused is read on, up to this many times the limit, so that its sender gets to read the answer."""
MAX_HEAD = 64 * 2**10
"""Bytes of headers. The HTTP parser limits only those that come in pieces."""
MAX_VALUES = 200_000
"""Commas in a body: JSON of many small values takes a hundred times its size in memory."""


class Refusal(Exception):
    """A request that gets no further."""

    def __init__(self, status: int, words: str, headers: dict[str, str] | None = None, *, drain: bool = True) -> None:
        super().__init__(words)
        self.status, self.words, self.headers, self.drain = status, words, headers or {}, drain


def refuse(
    status: int,
    words: str,
    headers: dict[str, str] | None = None,
    *,
    param: str | None = None,
    code: str | None = None,
) -> JSONResponse:
    """An error as OpenAI's clients read it."""
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    error = {"message": words, "type": kind, "param": param, "code": code}
    return JSONResponse({"error": error}, status, headers=headers)


class Gate:
    """ASGI middleware. It reads the body itself, and hands it on whole."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._settings, self._metrics = app, settings, metrics
        self._limit = int(settings.max_body_mb * 2**20)
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.perf_counter(), 499

        async def note(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._answer(scope, receive, note)
        except Exception:
            logging.getLogger("gr_vl.server").exception("a request failed")
            if status == 499:
                await refuse(500, "the server failed; its log says why")(scope, receive, note)
        finally:
            self._metrics.answered(scope["path"], status, time.perf_counter() - began)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, read = bytearray(), False
        try:
            async with asyncio.timeout(self._settings.timeout):
                self._check_head(scope)
                await self._read(scope, receive, body)
                read = True
                await self._app(scope, _replay(bytes(body)), send)
        except Refusal as refusal:
            if refusal.drain:
                await _drain(receive, DRAIN * self._limit)
            await refuse(refusal.status, refusal.words, refusal.headers | {"connection": "close"})(scope, receive, send)
        except TimeoutError:
            words = f"no answer within {self._settings.timeout:g} s" if read else "the request came too slowly"
            await refuse(504 if read else 408, words, {"connection": "close"})(scope, receive, send)
        except _GoneError:
            return
        finally:
            self._held -= len(body)

    def _check_head(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEAD:
            raise Refusal(431, f"the headers exceed {MAX_HEAD:,} bytes")
        if not self._may(scope):
            words = "the API key is missing or wrong; send it once, as Authorization: Bearer KEY"
            raise Refusal(401, words, {"www-authenticate": "Bearer"})
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise Refusal(415, "compressed bodies are not read; send it as it is")
        length = headers.get(b"content-length", b"0")
        if not length.isdigit() or int(length[:20]) > self._limit:
            far = not length.isdigit() or int(length[:20]) > DRAIN * self._limit
            raise Refusal(413, f"the body exceeds {self._limit:,} bytes", drain=not far)

    def _may(self, scope: Scope) -> bool:
        """Whether the caller brings the key, once. No endpoint answers OPTIONS, which browsers send without one."""
        key = self._settings.api_key
        if not key or scope["path"] == "/health" or scope["method"] == "OPTIONS":
            return True
        sent = [value.split(None, 1) for name, value in scope["headers"] if name == b"authorization"]
        scheme, given = sent[0] if len(sent) == 1 and len(sent[0]) == 2 else (b"", b"")
        return scheme.lower() == b"bearer" and hmac.compare_digest(given.strip(), key.encode())

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> None:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _GoneError
            chunk, more = message.get("body", b""), message.get("more_body", False)
            if len(body) + len(chunk) > self._limit:
                raise Refusal(413, f"the body exceeds {self._limit:,} bytes")
            if self._held + len(chunk) > self._settings.max_total_mb * 2**20:
                raise Refusal(429, "too much is being read at the moment; try again in 1 s", {"retry-after": "1"})
            body += chunk
            self._held += len(chunk)
        if body.count(b",") > MAX_VALUES:
            raise Refusal(413, f"the body holds more than {MAX_VALUES:,} values")


class _GoneError(Exception):
    """The caller hung up."""


def _replay(body: bytes) -> Receive:
    sent = False

    async def receive() -> Message:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _drain(receive: Receive, limit: int) -> None:
    seen, more = 0, True
    try:
        async with asyncio.timeout(2):
            while more and seen < limit:
                message: dict[str, Any] = dict(await receive())
                seen, more = seen + len(message.get("body", b"")), message.get("more_body", False)
    except TimeoutError:
        return
