"""Many prompts in, k answers each out, over verl's rollout servers. An answer on disk is never made again."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.answers import reasoning_tokens
from gr_vl.encoding import Encoder
from gr_vl.evaluation.answers import append_answers, read_answers
from gr_vl.progress import report
from gr_vl.schema import Answer, Sample
from gr_vl.seeding import seed_of

CHUNK = 512
"""Requests in flight at once; finished chunks are written together."""


@dataclass(frozen=True)
class Request:
    """How many answers a sample gets, and how they are drawn."""

    answers: int
    temperature: float
    top_p: float
    seed: int
    max_tokens: int


class Generator:
    """verl's rollout servers and a client to them. Make one after Ray has started; it serves until the process ends."""

    def __init__(self, config: DictConfig, encoder: Encoder) -> None:
        from gr_vl.verl_ext import entry

        self.encoder = encoder
        self.manager = entry.rollout_servers(config)
        self.client = self.manager.get_client()

    def load(self, model: Path) -> None:
        """Serve another model folder of the same architecture from now on."""
        import ray

        ray.get([server.load_model.remote(str(model)) for server in self.manager.server_handles])

    def answer(self, samples: Sequence[Sample], request: Request, out: Path, note: str = "") -> list[Answer]:
        """The k answers of every sample, in the order of the samples; those already in `out` are read, not made."""
        done = {(answer.id, answer.index): answer for answer in (read_answers(out) if out.is_file() else ())}
        wanted = [(sample, index) for sample in samples for index in range(request.answers)]
        missing = [item for item in wanted if (item[0].id, item[1]) not in done]
        for start in range(0, len(missing), CHUNK):
            report(out.parent, len(wanted) - len(missing) + start, len(wanted), note)
            fresh = asyncio.run(self._chunk(missing[start : start + CHUNK], request))
            append_answers(out, fresh)
            done |= {(answer.id, answer.index): answer for answer in fresh}
        report(out.parent, len(wanted), len(wanted), note)
        return [done[sample.id, index] for sample, index in wanted]

    async def _chunk(self, items: Sequence[tuple[Sample, int]], request: Request) -> list[Answer]:
        prompts = {sample.id: self.encoder.prompt(sample) for sample, _ in items}
        return await asyncio.gather(*(self._one(sample, index, prompts[sample.id], request) for sample, index in items))

    async def _one(self, sample: Sample, index: int, prompt: Any, request: Request) -> Answer:
        output = await self.client.generate(
            f"{sample.id}-{index}",
            prompt_ids=prompt.ids,
            sampling_params={
                "temperature": request.temperature,
                "top_p": request.top_p,
                "seed": seed_of(request.seed, "generation", sample.id, index),
                "max_tokens": request.max_tokens,
            },
            image_data=prompt.images or None,
        )
        tokenizer, ids = self.encoder.tokenizer, list(output.token_ids)
        finished = bool(ids) and ids[-1] == tokenizer.eos_token_id
        text = tokenizer.decode(ids, skip_special_tokens=True)
        return Answer(sample.id, index, text, len(ids), reasoning_tokens(tokenizer, ids), finished)
