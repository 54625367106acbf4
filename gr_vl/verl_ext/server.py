"""A rollout server over `transformers`: token ids in, token ids out, for machines on which vLLM does not run.

Requests that arrive together are answered together, in batches of at most `rollout.max_num_seqs`. The last bits of a
log-probability depend on what else is in its batch: requests that say how many they are wait for each other and are
taken in one order, whatever the order of their arrival, so that a step done again gives the same bits.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import torch
from verl.workers.config import HFModelConfig, RolloutConfig
from verl.workers.rollout.replica import TokenOutput

from gr_vl import models
from gr_vl.answers import Ending
from gr_vl.decoding import decode
from gr_vl.sampling import Draw, SeededSampler, vision_ids
from gr_vl.seeding import seed_of
from gr_vl.verl_ext.belief import pictures

QUIET_SECONDS = 0.2
"""How long a batch waits for company after the last request came in."""
PATIENCE = 20.0
"""The same where the requests said that more would come: one that failed on its way never does."""


@dataclass
class _Request:
    prompt_ids: list[int]
    images: list[Any]
    draw: Draw
    max_tokens: int
    company: int
    ended: Ending
    answer: asyncio.Future[TokenOutput] = field(default_factory=lambda: asyncio.get_running_loop().create_future())

    @property
    def key(self) -> Any:
        """What makes two prompts the same: tokens and pixels."""
        return tuple(self.prompt_ids), tuple((image.size, image.tobytes()) for image in self.images)


class TransformersServer:
    """The part of vLLM's server that verl's trainers and agent loops talk to. Runs as a Ray actor."""

    def __init__(self, config: RolloutConfig, model_config: HFModelConfig) -> None:
        self.config = config
        self.processor, self.tokenizer = model_config.processor, model_config.tokenizer
        self.model = models.load(model_config.local_path, dtype=config.dtype, attn_implementation="sdpa").eval()
        self.forbidden = vision_ids(self.tokenizer)
        self.global_steps: int | None = None
        self._pending: list[_Request] = []
        self._worker: asyncio.Task[None] | None = None
        self._turn, self._paused = asyncio.Lock(), False

    async def generate(
        self,
        prompt_ids: list[int],
        sampling_params: dict[str, Any],
        request_id: str,
        image_data: list[Any] | None = None,
        **more: Any,
    ) -> TokenOutput:
        """Answer one prompt. Raises ValueError when it leaves no room for an answer or comes with what is unknown here.

        Without what it came with, a video say, the answer would be to another prompt.
        """
        if unknown := sorted(name for name, content in more.items() if content):
            raise ValueError(f"{', '.join(unknown)}: this server reads text and images alone; take the engine vllm")
        room = self.config.max_model_len - len(prompt_ids)
        max_tokens = min(int(sampling_params.get("max_tokens") or self.config.response_length), room)
        if max_tokens < 1:
            raise ValueError(f"a prompt of {len(prompt_ids)} tokens fills max_model_len={self.config.max_model_len}")
        draw = Draw(
            seed=sampling_params.get("seed", seed_of(self.config.seed, request_id)),
            temperature=float(sampling_params.get("temperature", 1.0)),
            top_p=float(sampling_params.get("top_p", 1.0)),
        )
        company = int(sampling_params.get("company", 0))
        ended = Ending(self.tokenizer, sampling_params.get("stop") or ())
        request = _Request(list(prompt_ids), list(image_data or ()), draw, max_tokens, company, ended)
        self._pending.append(request)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await request.answer

    async def _work(self) -> None:
        size = self.config.max_num_seqs
        while self._pending:
            await self._arrivals(size)
            self._pending.sort(key=lambda request: (len(request.prompt_ids), request.draw.seed))
            # All that came together leave together: what comes meanwhile must not mix with the rest of them.
            together = max(self._pending[0].company, size)
            taken, self._pending = self._pending[:together], self._pending[together:]
            for start in range(0, len(taken), size):
                async with self._turn:
                    await self._settle(taken[start : start + size])

    async def _arrivals(self, size: int) -> None:
        seen, since = 0, 0.0
        while True:
            company = self._pending[0].company
            if len(self._pending) >= (company or size):
                return
            if len(self._pending) > seen:
                seen, since = len(self._pending), time.monotonic()
            if time.monotonic() - since >= (PATIENCE if company else QUIET_SECONDS):
                return
            await asyncio.sleep(QUIET_SECONDS / 10)

    async def _settle(self, batch: list[_Request]) -> None:
        try:
            outputs = await asyncio.to_thread(self._answer, batch)
        except Exception as error:
            for request in batch:
                request.answer.set_exception(error)
            return
        for request, output in zip(batch, outputs, strict=True):
            request.answer.set_result(output)

    def _answer(self, batch: list[_Request]) -> list[TokenOutput]:
        distinct: dict[Any, int] = {}
        copies = [distinct.setdefault(request.key, len(distinct)) for request in batch]
        prompts = dict(zip(copies, batch, strict=True))
        features, told = self._collate([prompts[copy] for copy in range(len(distinct))])
        limits = [request.max_tokens for request in batch]
        rows = decode(
            self.model,
            features,
            copies,
            SeededSampler([request.draw for request in batch], max(limits), self.forbidden),
            limits,
            [request.ended for request in batch],
        )
        version = {"global_steps": self.global_steps}
        return [
            TokenOutput(
                token_ids=row.tokens,
                log_probs=row.log_probs,
                stop_reason="completed",
                extra_fields=version | told[copy],
            )
            for row, copy in zip(rows, copies, strict=True)
        ]

    def _collate(self, prompts: list[_Request]) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
        """A batch, and what the model gets of each prompt's pictures."""
        width = max(len(request.prompt_ids) for request in prompts)
        ids = torch.full((len(prompts), width), self.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, request in enumerate(prompts):
            ids[row, width - len(request.prompt_ids) :] = torch.tensor(request.prompt_ids)
            mask[row, width - len(request.prompt_ids) :] = 1
        inputs, image_token = {"input_ids": ids, "attention_mask": mask}, models.image_token(self.model)
        if image_token is not None:
            inputs["mm_token_type_ids"] = (ids == image_token).int()
        images = [image for request in prompts for image in request.images]
        if images:
            inputs |= dict(self.processor.image_processor(images=images, return_tensors="pt"))
        return inputs, _told(prompts, inputs)

    async def abort_all_requests(self, reject_request: bool = False) -> None:
        """Begin no batch until `resume_generation`; returns when the one at hand is answered, whole."""
        if reject_request:
            raise NotImplementedError("there is no other server that could take this one's requests")
        if not self._paused:
            self._paused = True
            await self._turn.acquire()

    async def resume_generation(self) -> None:
        """Go on after `abort_all_requests`."""
        if self._paused:
            self._paused = False
            self._turn.release()

    async def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """Overwrite named parameters. Raises ValueError on a name that the model does not have."""
        unexpected = self.model.load_state_dict(weights, strict=False).unexpected_keys
        if unexpected:
            raise ValueError(f"the trainer sent weights that the rollout model lacks: {unexpected[:3]}")

    async def load_model(self, path: str) -> None:
        """Take the weights of another model folder of the same architecture."""
        await self.load_weights(models.load(path, dtype=self.config.dtype).state_dict())

    async def set_global_steps(self, global_steps: int) -> None:
        """The version of the weights, which every answer carries."""
        self.global_steps = global_steps

    async def idle(self) -> None:
        """What a server without a cache does when told to sleep, to wake up, or to forget."""


def _told(prompts: list[_Request], inputs: dict[str, torch.Tensor]) -> list[dict[str, Any]]:
    """What the model gets of each prompt's pictures, from the features of all of them."""
    told, grids, values = [], inputs.get("image_grid_thw"), inputs.get("pixel_values")
    image = patch = 0
    for request in prompts:
        features = {}
        if request.images and grids is not None and values is not None:
            grid = grids[image : image + len(request.images)]
            features = {"image_grid_thw": grid, "pixel_values": values[patch : patch + int(grid.prod(-1).sum())]}
            image, patch = image + len(grid), patch + len(features["pixel_values"])
        told.append(pictures(features))
    return told
