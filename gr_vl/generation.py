"""Many prompts in, k answers each out, over verl's rollout servers. An answer on disk is kept."""

import asyncio
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from gr_vl import watchdog
from gr_vl.answers import Ending, reasoning_tokens
from gr_vl.encoding import Encoder
from gr_vl.evaluation.answers import append_answers, read_answers
from gr_vl.progress import report
from gr_vl.schema import Answer, Sample
from gr_vl.seeding import seed_of

CHUNK = 512
"""Requests in flight at once, of as many whole samples as fit."""


@dataclass(frozen=True)
class Request:
    """How many answers a sample gets, and how they are drawn."""

    answers: int
    temperature: float
    top_p: float
    seed: int
    max_tokens: int


class Generator:
    """Answers from the rollout servers that a manager of verl's has started; they serve until the process ends.

    `restart` starts servers of another model folder; without it, the servers load it themselves.
    """

    def __init__(self, manager: Any, encoder: Encoder, restart: Callable[[Path], Any] | None = None) -> None:
        self.manager, self.encoder, self._restart = manager, encoder, restart
        self.client = manager.get_client()
        self._ended = Ending(encoder.tokenizer, encoder.dialect.stop)
        # What one server of ours says depends, in its last bits, on what it is asked along with.
        self._exact = restart is None and len(manager.server_handles) == 1

    def load(self, model: Path) -> None:
        """Serve another model folder of the same architecture from now on."""
        import ray

        with watchdog.phase("load"):
            if self._restart is None:
                ray.get([server.load_model.remote(str(model)) for server in self.manager.server_handles])
                return
            self.manager = self._restart(model)
        self.client = self.manager.get_client()

    def answers(
        self, samples: Iterable[Sample], total: int, request: Request, out: Path, note: str = ""
    ) -> Iterator[tuple[Sample, list[Answer]]]:
        """Each of `total` samples with its k answers, in order; those already in `out` are read, and never replaced.

        No more than `CHUNK` samples are in memory at once. One server of ours is asked a broken chunk as a whole: what
        was missing comes out as it would have.
        """
        done = {(answer.id, answer.index): answer for answer in (read_answers(out) if out.is_file() else ())}
        finished, waiting = 0, iter(samples)
        while batch := list(islice(waiting, max(CHUNK // request.answers, 1))):
            report(out.parent, finished * request.answers, total * request.answers, note)
            wanted = [(sample, index) for sample in batch for index in range(request.answers)]
            missing = {(sample.id, index) for sample, index in wanted} - done.keys()
            ask_all = self._exact and bool(missing)
            asked = [item for item in wanted if ask_all or (item[0].id, item[1]) in missing]
            with watchdog.phase("rollout", batch[0].id):
                fresh = asyncio.run(self._chunk(asked, missing, request, out))
            done |= {(answer.id, answer.index): answer for answer in fresh}
            for sample in batch:
                yield sample, [done[sample.id, index] for index in range(request.answers)]
            for sample, index in wanted:
                del done[sample.id, index]
            finished += len(batch)
        report(out.parent, finished * request.answers, total * request.answers, note)

    async def _chunk(
        self, items: Sequence[tuple[Sample, int]], wanted: Container[tuple[str, int]], request: Request, out: Path
    ) -> list[Answer]:
        """Ask for all items; write and return the answers that are wanted."""
        samples = {sample.id: sample for sample, _ in items}
        prompts = {id: self.encoder.request(sample) for id, sample in samples.items()}
        # Our server's batches must not depend on how fast its requests come in.
        company = {"company": len(items)} if self._exact else {}
        asked = [asyncio.create_task(self._one(*item, prompts[item[0].id], request, company)) for item in items]
        made = []
        for task in asked:
            # Each as soon as those before it are there: killed at any point, a run leaves the start of the same file.
            answer = await task
            if (answer.id, answer.index) in wanted:
                append_answers(out, [answer])
                made.append(answer)
        return made

    async def _one(
        self, sample: Sample, index: int, prompt: Any, request: Request, company: Mapping[str, int]
    ) -> Answer:
        output = await self.client.generate(
            sample.id,  # verl sends equal ids to one server, whose caches then know the prompt and its images
            prompt_ids=prompt.ids,
            sampling_params={
                "temperature": request.temperature,
                "top_p": request.top_p,
                "seed": seed_of(request.seed, "generation", sample.id, index),
                "max_tokens": request.max_tokens,
                **company,
                **self._ended.parameters,
            },
            image_data=prompt.images or None,
        )
        tokenizer, ids = self.encoder.tokenizer, list(output.token_ids)
        text = tokenizer.decode(ids, skip_special_tokens=True)
        reasoning = reasoning_tokens(tokenizer, ids, self.encoder.dialect.reasoning_ends)
        outcome = self.encoder.dialect.parse(text)
        return Answer(sample.id, index, text, len(ids), reasoning, self._ended(ids), outcome=outcome)
