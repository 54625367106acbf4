"""Small repairs of verl 0.9.1 that our users would otherwise hit. Each is named and listed in the package docstring."""

import functools
import importlib.util
import os
import random
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any

import numpy as np
import torch
import verl.models.transformers.qwen2_vl as qwen2_vl
import verl.utils.torch_functional as torch_functional
import verl.workers.engine.fsdp.transformer_impl as fsdp_impl
from verl.single_controller.ray import RayWorkerGroup
from verl.trainer.ppo.v1 import trainer_base, trainer_separate_async
from verl.utils.checkpoint import fsdp_checkpoint_manager
from verl.workers.engine_workers import TrainingWorker

from gr_vl.sampling import vision_ids
from gr_vl.verl_ext.loading import trust_random_states

VALID_FOR = "0.9.1"
SEED = "GR_VL_SEED"
"""The environment variable by which the run's seed gets to the workers."""
RENDEZVOUS_PORTS = (20_000, 32_000)
"""Above the ports of Ray's workers, below those that Linux gives to connections."""


def apply() -> None:
    """Apply every patch once. Raises RuntimeError beside another verl than the one they were written for."""
    if version("verl") != VALID_FOR:
        raise RuntimeError(f"gr_vl.verl_ext is written for verl {VALID_FOR}, found {version('verl')}: install that one")
    gloo_once()
    text_only_batch()
    unpinned_offload()
    log_probs_at_once()
    no_vision_tokens()
    pictures_without_text()
    no_pickle()
    seeded_workers()
    no_flush()
    rendezvous_port()


def _wrap_once(owner: Any, name: str, make: Callable[[Any], Any]) -> None:
    original = getattr(owner, name)
    if not hasattr(original, "gr_vl_original"):
        replacement = make(original)
        replacement.gr_vl_original = original
        setattr(owner, name, replacement)


def gloo_once() -> None:
    """Name each device once in the backend string of a process group."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def init_process_group(backend: str | None = None, *args: Any, **kwargs: Any) -> Any:
            return original(",".join(dict.fromkeys(backend.split(","))) if backend else backend, *args, **kwargs)

        return init_process_group

    _wrap_once(torch.distributed, "init_process_group", make)


class _PlainVisual:
    """A model whose vision tower returns a tensor; the rest of the model shows through."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def visual(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        return qwen2_vl.unpack_visual_output(self._model.visual(*args, **kwargs))[0]


def text_only_batch() -> None:
    """Let a micro-batch without any image pass: its dummy image feature must be a tensor before `.mean()`."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _get_input_embeds(
            model: Any,
            input_ids: Any,
            attention_mask: Any = None,
            pixel_values: Any = None,
            pixel_values_videos: Any = None,
            *grids: Any,
        ) -> Any:
            if pixel_values is None and pixel_values_videos is None:
                model = _PlainVisual(model)
            return original(model, input_ids, attention_mask, pixel_values, pixel_values_videos, *grids)

        return _get_input_embeds

    _wrap_once(qwen2_vl, "_get_input_embeds", make)


def unpinned_offload() -> None:
    """Offload the reference model without pinned memory where there is no CUDA driver to pin it."""

    def make(original: Any) -> Any:
        return functools.partial(lambda pin_memory=True: original(pin_memory=pin_memory and torch.cuda.is_available()))

    _wrap_once(fsdp_impl, "CPUOffloadPolicy", make)


def log_probs_at_once() -> None:
    """On CPU, take the log-probabilities of all tokens at once: without flash-attn verl takes them one by one."""
    if torch.cuda.is_available():
        return
    _wrap_once(torch_functional, "logprobs_from_logits_v2", lambda _: _log_probs)


def _log_probs(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    flat = torch.nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), reduction="none")
    return -flat.view_as(labels)


def no_vision_tokens() -> None:
    """Forbid vision tokens in vLLM's sampler by a logit bias. Nothing to do where vLLM is not installed."""
    if importlib.util.find_spec("vllm") is None:
        return
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        async def generate(
            self: Any, prompt_ids: Any, sampling_params: dict[str, Any], *args: Any, **kwargs: Any
        ) -> Any:
            bias = dict.fromkeys(vision_ids(self.model_config.tokenizer), -100.0)
            return await original(self, prompt_ids, {**sampling_params, "logit_bias": bias}, *args, **kwargs)

        return generate

    _wrap_once(vLLMHttpServer, "generate", make)


def pictures_without_text() -> None:
    """Compute an answer's image features from its images alone.

    verl decodes prompt and answer and hands the text to the processor along with the images: an answer that spells
    `<|image_pad|>` letter by letter would claim a picture there, and end the run when there is none left.
    """
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _compute_multi_modal_inputs(self: Any, output: Any, input_ids: torch.Tensor) -> Any:
            return original(self, output, input_ids[..., :0])

        return _compute_multi_modal_inputs

    _wrap_once(AgentLoopWorker, "_compute_multi_modal_inputs", make)
    # Ray copied the methods into the actor's class when that was imported, which may have been before.
    actor = AgentLoopWorkerTQ.__ray_metadata__.modified_class
    actor._compute_multi_modal_inputs = AgentLoopWorker._compute_multi_modal_inputs


class _SafeTorch(ModuleType):
    """`torch` whose `load` takes tensors and plain values only."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)

    def load(self, *args: Any, **kwargs: Any) -> Any:
        """`torch.load` that never runs what a file says."""
        return torch.load(*args, **{**kwargs, "weights_only": True})


def no_pickle() -> None:
    """Load checkpoints without pickle: verl reads them in a way that runs whatever code they hold."""
    trust_random_states()
    for module in (fsdp_checkpoint_manager, trainer_base):
        _wrap_once(module, "torch", lambda _: _SafeTorch("torch"))


def seeded_workers() -> None:
    """Start every trainer worker from the run's seed: verl starts them, and what they initialise, from chance."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def reset(self: Any) -> Any:
            seed = int(os.environ.get(SEED, "0"))
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
            return original(self)

        return reset

    _wrap_once(TrainingWorker, "reset", make)


def no_flush() -> None:
    """Let verl's separate trainer say that it has no replicas of its own: it hands `flush` to a logger, which fails."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def info(*args: Any, flush: bool = False, **kwargs: Any) -> None:
            original(*args, **kwargs)

        return info

    _wrap_once(trainer_separate_async.logger, "info", make)


def rendezvous_port() -> None:
    """Let ranks meet at a port that no connection is given by chance.

    verl asks the kernel for any free port and lets go of it: until the workers have started, any connection of the
    machine may get it, and the stage ends with `address already in use`.
    """

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def _get_master_addr_port(
            self: Any, pg: Any, bundle_index: int = 0, master_port_range: list[int] | None = None
        ) -> Any:
            # By its own chance, lest two runs on one machine begin their search at the same port.
            first = random.SystemRandom().randrange(RENDEZVOUS_PORTS[0], RENDEZVOUS_PORTS[1] - 1000)
            return original(self, pg, bundle_index, master_port_range or [first, RENDEZVOUS_PORTS[1]])

        return _get_master_addr_port

    _wrap_once(RayWorkerGroup, "_get_master_addr_port", make)


def loader_workers(number: int) -> None:
    """Let SFT under Ray use as many loader processes as the recipe says: verl forks 8, whatever the machine."""
    from verl.trainer import sft_trainer_ray

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        return functools.partial(lambda *args, **kwargs: original(*args, **{**kwargs, "num_workers": number}))

    _wrap_once(sft_trainer_ray, "StatefulDataLoader", make)
