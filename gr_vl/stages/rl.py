"""Online RL: GRPO on verl's V1 trainer under Ray, with our trainer, reward manager and agent loop chosen by name."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.stages import lengths, processing, training


def run(config: DictConfig) -> dict[str, Any]:
    """Train, then publish the last checkpoint as a model folder."""
    folder = Path(config.trainer.default_local_dir).parent
    encoder = processing.prepare(config, config.actor_rollout_ref.model, folder)
    kept = lengths.fit(
        Path(config.data.train_files),
        folder / "train",
        encoder,
        config.data.max_prompt_length,
        "data.max_prompt_length",
        targets=False,
        least=config.data.train_batch_size,
    )
    config.data.train_files = str(kept.path)
    training.train(config, kept.rows, _fit)
    return {"rows": kept.rows, "quarantined": kept.quarantined}


def _fit(config: DictConfig) -> None:
    training.on_ray(config)
    from gr_vl.verl_ext import entry

    entry.train_rl(config)
