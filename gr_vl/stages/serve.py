"""What mining and evaluation share: servers up, rows that fit, and how answers are drawn."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import jobs, watchdog
from gr_vl.generation import Generator, Request
from gr_vl.stages import lengths, processing

RELOADING = "transformers"
"""The rollout engine whose servers can load another model; vLLM's keep the one that they were started with."""


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
