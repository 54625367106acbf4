"""What mining and evaluation share: servers up, rows that fit, and how answers are drawn."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gr_vl import jobs, limits, rl_limits, watchdog
from gr_vl.errors import ConfigError
from gr_vl.generation import Generator, Request
from gr_vl.stages import Facts, lengths, processing

RELOADING = "transformers"
"""The rollout engine whose servers can load another model; vLLM's keep the one that they were started with."""


@dataclass
class Generation:
    """How answers are drawn."""

    corpus: str
    samples: int | None
    answers: int
    temperature: float
    top_p: float
    model: Any = None


def check(generation: Generation, config: DictConfig, files: bool) -> Facts:
    """Refuse what cannot be drawn, and more tokens than the servers hold."""
    limits.positive(config, "gr_vl.generation.samples", "gr_vl.generation.answers")
    if not 0 < generation.top_p <= 1:
        raise ConfigError(f"gr_vl.generation.top_p={generation.top_p} must lie in (0, 1]; use 1 to keep every token")
    if generation.temperature < 0:
        raise ConfigError(f"gr_vl.generation.temperature={generation.temperature} must be at least 0; use 0 for greedy")
    rl_limits.room(config)
    tensor = "actor_rollout_ref.rollout.tensor_model_parallel_size"
    limits.divides(config, "actor_rollout_ref.rollout.n_gpus_per_node", OmegaConf.select(config, tensor), tensor)
    rows = limits.rows(generation.corpus, files)
    samples = min(generation.samples or rows, rows) if rows is not None else generation.samples
    return {"samples": samples, "answers a sample": generation.answers}


def serve(config: DictConfig, folder: Path) -> tuple[Generator, Request, lengths.Kept]:
    """Start Ray and the rollout servers of a composed configuration, watched over."""
    settings, rollout = config.gr_vl.generation, config.actor_rollout_ref.rollout
    encoder = processing.prepare(config, config.actor_rollout_ref.model, folder)
    key = "actor_rollout_ref.rollout.prompt_length"
    # A benchmark is scored whole, however much of it cannot be asked.
    share = 1.0 if config.gr_vl.kind == "eval" and config.gr_vl.eval.get("benchmarks") else lengths.MAX_SHARE
    kept = lengths.fit(
        Path(settings.corpus), folder, encoder, rollout.prompt_length, key, targets=False, max_share=share
    )
    pulse = folder.absolute() / "pulse"
    watchdog.watch(pulse, config.gr_vl.watchdog)
    request = Request(
        answers=settings.answers,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=config.gr_vl.seed,
        max_tokens=rollout.response_length,
    )
    manager = _start(config, pulse)

    def restart(model: Path) -> Any:
        import ray

        if str(model) == config.actor_rollout_ref.model.path:
            return generator.manager
        config.actor_rollout_ref.model.path = str(model)
        ray.shutdown()
        return _start(config, pulse)

    generator = Generator(manager, encoder, None if rollout.name == RELOADING else restart)
    return generator, request, kept


def _start(config: DictConfig, pulse: Path) -> Any:
    from gr_vl.verl_ext import entry

    jobs.start_ray(config, **{watchdog.VARIABLE: str(pulse)})
    with watchdog.phase("load"):
        return entry.rollout_servers(config)
