"""Any guard behind an OpenAI-compatible endpoint, asked about every sample of a corpus and scored.

Answers are appended as they come, one line a call, so a killed run goes on where it stopped. The `openai` client
repeats what fails in passing (408, 409, 429, 5xx, broken connections) and honours Retry-After. A request that the
server refuses (400, 413, 415, 422: too long, say) is an answer without a verdict; any other refusal ends the run.
"""

import asyncio
import json
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion

from gr_vl import limits
from gr_vl.data import io
from gr_vl.errors import ConfigError, StageError
from gr_vl.evaluation import adapters, peers
from gr_vl.evaluation.adapters import Adapter, Call
from gr_vl.evaluation.answers import append_answers, read_answers
from gr_vl.evaluation.metrics import Judged
from gr_vl.schema import Answer, Sample
from gr_vl.teacher.client import REJECTS
from gr_vl.teacher.prompt import CONTROL, data_url


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
    answers = out / peers.ANSWERS
    done = {(answer.id, answer.index) for answer in (read_answers(answers) if answers.is_file() else ())}
    asyncio.run(_ask_all(endpoint, adapter, samples, done, answers))
    return peers.judge(samples, adapter, read_answers(answers) if answers.is_file() else [])


def _claim(endpoint: Endpoint, out: Path) -> None:
    """Write down who answers in this folder, so that answers of two guards never mix."""
    asked = {name: asdict(endpoint)[name] for name in ("model", "adapter", "corpus", "max_tokens")}
    path = out / peers.ASKED
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asked, indent=2) + "\n", encoding="utf-8")
    elif (kept := json.loads(path.read_text(encoding="utf-8"))) != asked:
        name = next(name for name, value in asked.items() if kept.get(name) != value)
        raise ConfigError(f"--out {out}: holds answers with {name}={kept.get(name)}, not {asked[name]}; name another")


async def _ask_all(
    endpoint: Endpoint, adapter: Adapter, samples: Sequence[Sample], done: set[tuple[str, int]], answers: Path
) -> None:
    client = openai.AsyncOpenAI(
        api_key=os.environ[endpoint.api_key_env],
        base_url=endpoint.url,
        timeout=endpoint.timeout,
        max_retries=endpoint.tries - 1,
    )
    waiting = iter(samples)

    async def work() -> None:
        for sample in waiting:
            for index, call in enumerate(adapter.calls(sample)):
                if (sample.id, index) not in done:
                    append_answers(answers, [await _ask(client, endpoint, sample, index, call)])

    async with client:
        await asyncio.gather(*(work() for _ in range(endpoint.concurrency)))


async def _ask(client: openai.AsyncOpenAI, endpoint: Endpoint, sample: Sample, index: int, call: Call) -> Answer:
    body = {"model": endpoint.model, "messages": _messages(call), "temperature": 0, "max_tokens": endpoint.max_tokens}
    began = time.monotonic()
    try:
        reply = await client.chat.completions.create(**cast(Any, body), extra_body=dict(call.extra))
    except openai.APIStatusError as error:
        if error.status_code in REJECTS:
            return Answer(sample.id, index, "", 0, 0, finished=False)
        words = f"--endpoint {endpoint.url}: the server answered {error.status_code}"
        if error.status_code < 500 and error.status_code not in (408, 409, 429):
            raise ConfigError(f"{words}; check the address, --model and {endpoint.api_key_env}") from None
        raise StageError(f"{words} {endpoint.tries} times; run the same command again to go on") from None
    except openai.APIError as error:
        raise StageError(f"--endpoint {endpoint.url}: {type(error).__name__}; run the same command again") from None
    if not isinstance(reply, ChatCompletion) or not reply.choices or reply.choices[0].message is None:
        raise StageError(f"--endpoint {endpoint.url}: sent no chat completion; is it OpenAI-compatible?")
    choice, tokens = reply.choices[0], reply.usage.completion_tokens if reply.usage else 0
    seconds = time.monotonic() - began
    return Answer(sample.id, index, choice.message.content or "", tokens, 0, choice.finish_reason == "stop", seconds)


def _messages(call: Call) -> list[dict[str, Any]]:
    images, messages = iter(call.images), []
    for message in call.messages:
        parts = [
            {"type": "image_url", "image_url": {"url": data_url(next(images))}}
            if part["type"] == "image"
            else {"type": "text", "text": CONTROL.sub("< ", part["text"])}
            for part in message["content"]
        ]
        # Many servers take a list of parts only from models that see.
        texts = [part["text"] for part in parts if part["type"] == "text"]
        content = texts[0] if len(parts) == len(texts) == 1 else parts
        messages.append({"role": message["role"], "content": content})
    return messages
