"""Add safety-aware pairs to the hard samples."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.augment import concat
from gr_vl.data import io
from gr_vl.stages.data import count


def run(config: DictConfig) -> dict[str, Any]:
    """Write the RL training set; returns its counts."""
    settings = config.gr_vl.concat
    hard = io.read(Path(settings.corpus))
    samples = concat.augmented_set(
        hard, settings.share, config.gr_vl.seed, text_mode=settings.text_mode, max_side=settings.max_side
    )
    io.write(Path(settings.out), samples)
    return {"train": count(samples), "pairs": len(samples) - len(hard)}
