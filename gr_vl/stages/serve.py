"""What mining and evaluation share: servers up, rows that fit, and how answers are drawn."""

from pathlib import Path

from omegaconf import DictConfig

from gr_vl import dialects, jobs
from gr_vl.encoding import Encoder
from gr_vl.generation import Generator, Request
from gr_vl.stages import lengths


def serve(config: DictConfig, folder: Path) -> tuple[Generator, Request, lengths.Kept]:
    """Start Ray and the rollout servers of a composed configuration."""
    from transformers import AutoProcessor

    from gr_vl.verl_ext import entry

    settings, rollout = config.gr_vl.generation, config.actor_rollout_ref.rollout
    model = config.actor_rollout_ref.model.path
    encoder = Encoder(AutoProcessor.from_pretrained(model), dialects.get(config.gr_vl.dialect))
    key = "actor_rollout_ref.rollout.prompt_length"
    kept = lengths.fit(Path(settings.corpus), folder, encoder, rollout.prompt_length, key, targets=False)
    jobs.start_ray(config)
    request = Request(
        answers=settings.answers,
        temperature=settings.temperature,
        top_p=settings.top_p,
        seed=config.gr_vl.seed,
        max_tokens=rollout.response_length,
    )
    return Generator(entry.rollout_servers(config), encoder), request, kept
