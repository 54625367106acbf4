"""Any guard behind an OpenAI-compatible endpoint, asked about every sample of a corpus and scored.

Answers are appended as they come, one line a call, so a killed run goes on where it stopped. What fails in passing is
repeated. What would refuse every request ends the run. A call that is refused for its sample is no answer: it is listed
in `refused.jsonl`, leaves its sample without a verdict, and is asked again by the next run.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gr_vl import limits
from gr_vl.chat.client import Chat, NoCompletionError
from gr_vl.chat.completion import Completion
from gr_vl.chat.doubt import Doubt
from gr_vl.chat.parts import spoken
from gr_vl.chat.refusal import Kind
from gr_vl.chat.retrying import retrying
from gr_vl.data import io
from gr_vl.data.build.files import replace_text
from gr_vl.errors import ConfigError, StageError
from gr_vl.evaluation import adapters, peers
from gr_vl.evaluation.adapters import Call
from gr_vl.evaluation.answers import append_answers
from gr_vl.evaluation.metrics import Judged
from gr_vl.schema import Answer, Sample


@dataclass(frozen=True)
class Endpoint:
    """Who is asked, and how. Raises ConfigError naming the option."""

    url: str
    model: str
    adapter: str
    corpus: str
    max_tokens: int = 4096
    concurrency: int = 8
    timeout: float = 300.0
    """Seconds to wait for a reply."""
    api_key_env: str = "OPENAI_API_KEY"
    """Name of the environment variable that holds the key."""
    tries: int = 6
    """Requests for one reply while the server is busy, broken or silent."""
    backoff: float = 1.0
    """Seconds that the first wait between two tries may take."""

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.scheme not in ("http", "https") or not address.hostname or address.password:
            raise ConfigError(f"--endpoint {self.url}: no address; write one such as http://localhost:8000/v1")
        for name in ("max_tokens", "concurrency", "timeout", "tries"):
            limits.above(f"--{name.replace('_', '-')}", getattr(self, name))
        if not os.environ.get(self.api_key_env, "").strip():
            raise ConfigError(
                f"--api-key-env {self.api_key_env}: not set; export the key, or any word for a server that wants none"
            )


def run(endpoint: Endpoint, out: Path) -> list[Judged]:
    """Ask about every sample that `out` holds no answers of, and judge them all."""
    adapter, samples = adapters.get(endpoint.adapter), io.read_distinct(Path(endpoint.corpus))
    _claim(endpoint, out)
    answers = peers.answers(out)
    todo = [_Asked(sample, index, call) for sample in samples for index, call in enumerate(adapter.calls(sample))]
    asyncio.run(_Run(endpoint, out, todo, {(answer.id, answer.index) for answer in answers}).all())
    return peers.judge(samples, adapter, peers.answers(out))


def _claim(endpoint: Endpoint, out: Path) -> None:
    """Write down who answers in this folder, so that answers of two guards never mix."""
    asked = {name: asdict(endpoint)[name] for name in ("model", "adapter", "corpus", "max_tokens")}
    path = out / peers.ASKED
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        replace_text(path, json.dumps(asked, indent=2) + "\n")
    elif (kept := peers.asked(path)) != asked:
        name = next(name for name, value in asked.items() if kept.get(name) != value)
        raise ConfigError(f"--out {out}: holds answers with {name}={kept.get(name)}, not {asked[name]}; name another")


@dataclass(frozen=True)
class _Asked:
    """One call about one sample."""

    sample: Sample
    index: int
    call: Call


class _Run:
    """One pass over the calls that have no answer yet."""

    def __init__(self, endpoint: Endpoint, out: Path, calls: Sequence[_Asked], done: set[tuple[str, int]]) -> None:
        self._endpoint, self._out = endpoint, out
        self._chat = Chat(endpoint.url, os.environ[endpoint.api_key_env].strip(), endpoint.timeout)
        self._todo = [asked for asked in calls if (asked.sample.id, asked.index) not in done]
        self._good = next((asked for asked in calls if (asked.sample.id, asked.index) in done), None)
        """A call that had an answer."""
        self._doubt = Doubt(answered=self._good is not None)
        self._refused: list[dict[str, Any]] = []

    async def all(self) -> None:
        """Ask, append the answers and list the refusals. Raises ConfigError when the server refuses every request."""
        waiting = iter(self._todo)

        async def work() -> None:
            for asked in waiting:
                await self._one(asked)

        try:
            await asyncio.gather(*(work() for _ in range(self._endpoint.concurrency)))
            if self._refused and not self._doubt.answered:
                raise self._mistake(f"no request was answered; the first: {self._doubt.first}")
            await self._doubt.clear_up(self._prove, enough=2)
        finally:
            await self._chat.close()
        replace_text(self._out / peers.REFUSED, "".join(json.dumps(row) + "\n" for row in self._refused))

    async def _one(self, asked: _Asked) -> None:
        try:
            append_answers(self._out / peers.ANSWERS, [await self._answer(asked)])
        except NoCompletionError as error:
            if error.kind is Kind.PASSING:
                raise self._broken(error) from None
            if error.kind is Kind.SETTINGS:
                raise self._mistake(str(error)) from None
            self._doubt.refused(error)
            self._refused.append({"id": asked.sample.id, "index": asked.index, "why": str(error)})
            if self._doubt.hopeless:
                raise self._mistake(f"none of the first requests was answered: {self._doubt.first}") from None
            await self._doubt.clear_up(self._prove)
        else:
            self._good = asked
            self._doubt.heard()

    async def _answer(self, asked: _Asked) -> Answer:
        began = time.monotonic()
        tries = retrying(self._endpoint.tries, self._endpoint.backoff, lambda error: error.kind is Kind.PASSING)
        found: Completion = await tries(self._send, _body(self._endpoint, asked.call))
        tokens = found.used[1] if found.used else 0
        seconds = time.monotonic() - began
        return Answer(asked.sample.id, asked.index, found.text, tokens, 0, found.finish == "stop", seconds)

    async def _send(self, body: dict[str, Any]) -> Completion:
        async with self._doubt.turn():
            return await self._chat.send(body)

    async def _prove(self) -> None:
        assert self._good is not None
        try:
            await self._answer(self._good)
        except NoCompletionError as error:
            if error.kind is Kind.PASSING:
                raise self._broken(error) from None
            raise self._mistake(f"every request is refused, though others were answered: {error}") from None

    def _mistake(self, words: str) -> ConfigError:
        hint = f"check the address, --model and {self._endpoint.api_key_env}"
        return ConfigError(f"--endpoint {self._endpoint.url}: {words}; {hint}")

    def _broken(self, error: NoCompletionError) -> StageError:
        words = f"--endpoint {self._endpoint.url}: {error}, {self._endpoint.tries} times"
        return StageError(f"{words}; run the same command again to go on")


def _body(endpoint: Endpoint, call: Call) -> dict[str, Any]:
    images = iter(call.images)
    messages = []
    for message in call.messages:
        parts = spoken(message["content"], images)
        # Many servers take a list of parts only from models that see.
        alone = len(parts) == 1 and parts[0]["type"] == "text"
        messages.append({"role": message["role"], "content": parts[0]["text"] if alone else parts})
    asked = {"model": endpoint.model, "messages": messages, "temperature": 0, "max_tokens": endpoint.max_tokens}
    return asked | dict(call.extra)
