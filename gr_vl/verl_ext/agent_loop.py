"""One question, one answer, and a seed for each answer: a resumed run draws what an uninterrupted one would."""

import threading
from collections import OrderedDict
from typing import Any

from verl.experimental.agent_loop.agent_loop import AgentLoopOutput, register
from verl.experimental.agent_loop.single_turn_agent_loop import SingleTurnAgentLoop

from gr_vl import dialects, watchdog
from gr_vl.answers import Ending
from gr_vl.seeding import seed_of

REMEMBERED_IMAGES = 64
"""Prompts whose patches are kept. One of a megapixel takes about 24 MB."""


class RememberingImages:
    """An image processor that remembers its last results: verl asks for the same patches three times an answer.

    The rest of the processor shows through.
    """

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._known: OrderedDict[Any, Any] = OrderedDict()
        self._lock = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._processor, name)

    def __call__(self, images: Any, **options: Any) -> Any:
        """The processor's features, as a fresh mapping over shared tensors."""
        key = tuple((image.size, image.mode, image.tobytes()) for image in images), repr(options)
        # The answers to one prompt ask at the same time, from threads: without the lock all of them would compute.
        with self._lock:
            if key not in self._known:
                self._known[key] = self._processor(images=images, **options)
            self._known.move_to_end(key)
            while len(self._known) > REMEMBERED_IMAGES:
                self._known.popitem(last=False)
            return self._known[key].copy()


@register("gr_vl")
class SeededAgentLoop(SingleTurnAgentLoop):
    """verl's single-turn loop whose sampling is a function of (run seed, step, sample id, answer index)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ended = Ending(self.tokenizer, dialects.get(self.config.gr_vl.dialect).stop)
        if self.processor is not None and not isinstance(self.processor.image_processor, RememberingImages):
            self.processor.image_processor = RememberingImages(self.processor.image_processor)

    async def run(self, sampling_params: dict[str, Any], priority: int = 0, **kwargs: Any) -> AgentLoopOutput:
        """Generate one answer."""
        seed = seed_of(self.config.gr_vl.seed, "rollout", kwargs["global_steps"], kwargs["index"], kwargs["session_id"])
        drawn = {**sampling_params, "seed": seed, **self._ended.parameters}
        if self.config.actor_rollout_ref.rollout.name == "transformers":
            drawn["company"] = int(kwargs.get("company", 0))
        with watchdog.phase("rollout", str(kwargs["index"])):
            return await super().run(drawn, priority=priority, **kwargs)
