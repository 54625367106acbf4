"""Who judges: the guard in this process, or one behind an OpenAI-compatible server."""

import asyncio
import math
import os
import time
from collections.abc import Sequence
from typing import Any, Protocol

from gr_vl import model_files, specs
from gr_vl.chat.client import Chat, NoCompletionError
from gr_vl.chat.completion import Token
from gr_vl.chat.doubt import Doubt
from gr_vl.chat.parts import image_part
from gr_vl.chat.refusal import Kind
from gr_vl.data import images
from gr_vl.encoding import Encoder
from gr_vl.errors import DataError
from gr_vl.guard.batching import DEAD, Batcher, BusyError
from gr_vl.guard.moderation import Exchange, Moderation, Question, Written, check_room, joined, judged, questions
from gr_vl.guard.scoring import Place, PlacesByTasks
from gr_vl.schema import ParseFailure, Task
from gr_vl.server.settings import Settings


class BackendError(Exception):
    """The server behind this one gave no answer."""


class Backend(Protocol):
    """Judges the exchanges of one request."""

    @property
    def waiting(self) -> int:
        """Exchanges that nobody works on yet."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why nothing can be judged, or None."""
        ...

    async def moderate(self, exchanges: Sequence[Exchange]) -> list[Moderation]:
        """Raises DataError, BusyError when there is no room for all, or BackendError."""
        ...

    async def close(self) -> None:
        """Finish what was taken, and end."""
        ...


class InProcess:
    """A guard in this process, and one thread that batches what waits."""

    def __init__(self, settings: Settings) -> None:
        from gr_vl.guard.model import Guard

        guard = Guard.from_pretrained(settings.model, max_tokens=settings.max_tokens, batch_size=settings.batch_size)
        self._batcher = Batcher(guard.outcomes, batch_size=settings.batch_size, limit=settings.queue)

    @property
    def waiting(self) -> int:
        """Exchanges in the queue."""
        return self._batcher.waiting

    @property
    def trouble(self) -> str | None:
        """That the thread is dead."""
        return None if self._batcher.alive else DEAD

    async def moderate(self, exchanges: Sequence[Exchange]) -> list[Moderation]:
        """Judge them in whatever batches they come into. Those of a caller who is gone leave the queue."""
        futures = self._batcher.submit(exchanges)
        try:
            return list(await asyncio.gather(*map(asyncio.wrap_future, futures)))
        finally:
            for future in futures:
                future.cancel()

    async def close(self) -> None:
        """Finish the queue."""
        await asyncio.to_thread(self._batcher.close)


class Remote:
    """A guard behind a server that takes chat messages and returns log-probabilities, vLLM for one.

    Scores come from the most likely tokens that it lists where the two labels part, so a label's first token stands
    for the label; without that list a score is 1 or 0. Pictures are sent as decoded here, as PNG.
    """

    def __init__(self, settings: Settings) -> None:
        self._name = settings.backend_model or str(settings.model)
        self._max_tokens, self._limit = settings.max_tokens, settings.queue
        model = model_files.check(settings.model, weights=False)
        self._encoder = Encoder.load(model, specs.find(model))
        self._dialect = self._encoder.dialect
        check_room(self._encoder, settings.max_tokens, model_files.positions(model))
        self._places = PlacesByTasks(self._encoder.tokenizer, self._dialect)
        key = os.environ.get(settings.backend_key_env, "").strip() or "none"
        self._chat, self._key_env = Chat(str(settings.backend_url), key, settings.timeout), settings.backend_key_env
        self._doubt, self._running = Doubt(answered=False), 0

    @property
    def waiting(self) -> int:
        """Exchanges that the other server has not answered."""
        return self._running

    @property
    def trouble(self) -> str | None:
        """Nothing here: the other server has a health of its own."""
        return None

    async def moderate(self, exchanges: Sequence[Exchange]) -> list[Moderation]:
        """One request there for each question that the dialect has about an exchange."""
        if not all(exchange.think for exchange in exchanges):
            raise DataError("think=false: needs the guard in this process; leave --backend-url out")
        if self._running + len(exchanges) > self._limit:
            raise BusyError(1)
        self._running += len(exchanges)
        try:
            return list(await asyncio.gather(*map(self._one, exchanges)))
        finally:
            self._running -= len(exchanges)

    async def close(self) -> None:
        """Close the connections."""
        await self._chat.close()

    async def _one(self, exchange: Exchange) -> Moderation:
        asked = questions(self._dialect, exchange)
        return joined(await asyncio.gather(*map(self._answer, asked)))

    async def _answer(self, question: Question) -> Moderation:
        began = time.perf_counter()
        messages = await asyncio.to_thread(self._messages, question)
        body = {"model": self._name, "messages": messages, "temperature": 0, "max_tokens": self._max_tokens}
        try:
            found = await self._chat.send(body | {"logprobs": True, "top_logprobs": 20})
        except NoCompletionError as error:
            raise self._refused(error) from None
        self._doubt.heard()
        read, wrote = found.used or (0, 0)
        written = Written(found.text, found.finish == "stop", read, wrote, time.perf_counter() - began)
        return judged(self._dialect, question, written, self._scores(question, found.text, found.tokens))

    def _refused(self, error: NoCompletionError) -> DataError | BackendError:
        """Whose mistake it is that there is no completion."""
        if error.served or error.kind is Kind.PASSING:
            return BackendError(f"the backend gave no completion: {error}")
        self._doubt.refused(error)
        if error.kind is Kind.SETTINGS or self._doubt.hopeless:
            hint = f"check --backend-url, --backend-model and the key in {self._key_env}"
            return BackendError(f"the backend refuses every request: {error}; {hint}")
        return DataError(f"the backend refused the request: {error}")

    def _messages(self, question: Question) -> list[Any]:
        messages = self._encoder.messages(question.sample)
        for message in messages:
            if self._encoder.sees:
                message["content"] = [_part(part) for part in message["content"]]
        return messages

    def _scores(self, question: Question, text: str, listed: Sequence[Token]) -> dict[Task, float]:
        verdict = self._dialect.parse(text)
        if isinstance(verdict, ParseFailure):
            return {}
        tokenizer = self._encoder.tokenizer
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        scores = {
            place.task: _listed_score(tokenizer, place, listed) for place in self._places[question.stated].of(ids, text)
        }
        return {
            task: float(verdict.labels[task] in task.positives) if score is None else score
            for task, score in scores.items()
        }


def _part(part: dict[str, Any]) -> dict[str, Any]:
    if part["type"] != "image":
        return part
    return image_part(images.encode_png(part["image"]))


def _listed_score(tokenizer: Any, place: Place, listed: Sequence[Token]) -> float | None:
    """The score by the tokens that were listed where the labels part; None where none was, or one token begins two."""
    choices = list(place.choices.values())
    shared = next((i for i, tokens in enumerate(zip(*choices, strict=False)) if len(set(tokens)) > 1), 0)
    first = [tokenizer.decode(tokens[shared : shared + 1]) for tokens in choices]
    if len(set(first)) < len(first):
        return None
    start, said = len(tokenizer.decode([*place.context, *choices[0][:shared]])), 0
    for token in listed:
        if said >= start:
            found = token.likeliest
            if any(word in found for word in first):
                return place.score([found.get(word, -math.inf) for word in first])
            break
        said += len(token.text)
    return None
