"""The endpoints: OpenAI's moderation and chat schema, a health check, Prometheus metrics."""

import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import ValidationError
from starlette.exceptions import HTTPException

from gr_vl.errors import DataError
from gr_vl.guard.batching import BusyError, ClosedError
from gr_vl.guard.moderation import MAX_IMAGES, Exchange, Moderation
from gr_vl.server.backend import Backend, BackendError
from gr_vl.server.gate import Gate, refuse
from gr_vl.server.metrics import Metrics
from gr_vl.server.pictures import Pictures
from gr_vl.server.schema import ChatBody, ImagePart, ModerationBody, Part, joined, problem
from gr_vl.server.settings import Settings


class Service:
    """Turns bodies into exchanges and judgements into bodies."""

    def __init__(self, backend: Backend, settings: Settings, metrics: Metrics) -> None:
        self.backend, self._settings, self._metrics = backend, settings, metrics
        self.pictures, self.name = Pictures(settings.image_hosts), settings.model.resolve().name
        self._card = {"id": self.name, "object": "model", "created": 0, "owned_by": "gr_vl"}

    async def moderations(self, request: Request) -> JSONResponse:
        """POST /v1/moderations."""
        body = ModerationBody.read(await request.body())
        messages = body.messages()
        if len(messages) > self._settings.max_items:
            raise DataError(f"input: {len(messages)} texts exceed the limit of {self._settings.max_items}; send fewer")
        exchanges = [await self._exchange(parts, body.response, body) for parts in messages]
        results = [
            _result(exchange, judged) for exchange, judged in zip(exchanges, await self._judge(exchanges), strict=True)
        ]
        return JSONResponse({"id": f"modr-{uuid.uuid4().hex}", "model": self.name, "results": results})

    async def chat(self, request: Request) -> JSONResponse:
        """POST /v1/chat/completions: what the guard writes about an exchange, in its own dialect."""
        body = ChatBody.read(await request.body())
        body.check_length(self._settings.max_tokens)
        parts, response = body.exchange()
        [judged] = await self._judge([await self._exchange(parts, response, body)])
        written = judged.written
        message = {"role": "assistant", "content": written.text, "refusal": None}
        finish = "stop" if written.finished else "length"
        used = {"prompt_tokens": written.prompt_tokens, "completion_tokens": written.tokens}
        return JSONResponse(
            {
                "id": f"chatcmpl-{uuid.uuid4().hex}",
                "object": "chat.completion",
                "created": int(time.time()),
                "model": self.name,
                "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
                "usage": used | {"total_tokens": sum(used.values())},
            }
        )

    async def models(self) -> JSONResponse:
        """GET /v1/models."""
        return JSONResponse({"object": "list", "data": [self._card]})

    async def model(self, name: str) -> JSONResponse:
        """GET /v1/models/NAME, whatever the name holds; 404 for all but the guard's own."""
        if name != self.name:
            words = f"the model {name[:80]!r} does not exist; this server has {self.name!r}"
            return refuse(404, words, param="model", code="model_not_found")
        return JSONResponse(self._card)

    async def health(self) -> JSONResponse:
        """GET /health: that the server can judge, or 503 and why it cannot."""
        trouble = self.backend.trouble
        found = {"status": trouble or "ok", "model": self.name, "waiting": self.backend.waiting}
        return JSONResponse(found, 503 if trouble else 200)

    async def metrics(self) -> PlainTextResponse:
        """GET /metrics."""
        return PlainTextResponse(self._metrics.page(), media_type="text/plain; version=0.0.4")

    async def close(self) -> None:
        """Finish what was taken."""
        await self.backend.close()
        await self.pictures.close()

    async def _exchange(self, parts: Sequence[Part], response: str | None, body: ModerationBody | ChatBody) -> Exchange:
        urls = [part.image_url.url for part in parts if isinstance(part, ImagePart)]
        if len(urls) > MAX_IMAGES:
            raise DataError(f"input: {len(urls)} images exceed the limit of {MAX_IMAGES}; send fewer")
        pictures = tuple([await self.pictures.read(url) for url in urls])
        return Exchange(joined(list(parts)), pictures, response, body.think, body.policy)

    async def _judge(self, exchanges: Sequence[Exchange]) -> list[Moderation]:
        found = await self.backend.moderate(exchanges)
        self._metrics.judged(found)
        return found


def create_app(backend: Backend, settings: Settings) -> FastAPI:
    """The application. It closes the backend when it ends."""
    metrics = Metrics()
    metrics.watch(lambda: backend.waiting)
    service = Service(backend, settings, metrics)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.close()

    app = FastAPI(lifespan=life, openapi_url=None, redirect_slashes=False)
    app.add_api_route("/v1/moderations", service.moderations, methods=["POST"])
    app.add_api_route("/v1/chat/completions", service.chat, methods=["POST"])
    routes: dict[str, Callable[..., Any]] = {"/v1/models": service.models, "/v1/models/{name:path}": service.model}
    for path, answer in (routes | {"/health": service.health, "/metrics": service.metrics}).items():
        app.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None)
    for kind, handler in _HANDLERS.items():
        app.add_exception_handler(kind, handler)
    app.add_middleware(Gate, settings=settings, metrics=metrics)
    return app


def _result(exchange: Exchange, judged: Moderation) -> dict[str, Any]:
    """One entry of `results`: OpenAI's fields, then ours. Categories are the guard's tasks."""
    sent = [kind for kind, there in (("text", exchange.prompt), ("image", exchange.images)) if there] or ["text"]
    inputs = {task: ["text"] if task.needs_response else sent for task in judged.labels}
    return {
        "flagged": judged.flagged,
        "categories": {task: label in task.positives for task, label in judged.labels.items()},
        "category_scores": judged.scores,
        "category_applied_input_types": inputs,
        **{name: value for name, value in judged.to_json().items() if name not in ("flagged", "scores")},
    }


def _answering(status: int, words: Callable[[Any], str]) -> Callable[[Request, Exception], Awaitable[JSONResponse]]:
    async def handler(_: Request, error: Exception) -> JSONResponse:
        after = getattr(error, "retry_after", None)
        return refuse(status, words(error), None if after is None else {"retry-after": str(after)})

    return handler


async def _unroutable(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return refuse(error.status_code, error.detail, dict(error.headers or {}))


_HANDLERS: dict[Any, Callable[[Request, Exception], Awaitable[JSONResponse]]] = {
    DataError: _answering(400, str),
    ValidationError: _answering(400, lambda error: problem(error.errors(include_url=False, include_input=False))),
    BusyError: _answering(429, str),
    ClosedError: _answering(503, str),
    BackendError: _answering(502, str),
    HTTPException: _unroutable,
}
