"""Add safety-aware pairs to the hard samples."""

from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects, progress
from gr_vl.augment import concat, contact_sheet
from gr_vl.data import io
from gr_vl.data.image_cache import ImageCache
from gr_vl.stages.data import count

GIGABYTE = 10**9


def run(config: DictConfig) -> dict[str, Any]:
    """Write the RL training set and a picture of some of its pairs; returns its counts."""
    settings = config.gr_vl.concat
    hard = io.read(Path(settings.corpus))
    cache = None
    if settings.cache is not None:
        cache = ImageCache(Path(settings.cache), int(settings.cache_gb * GIGABYTE))
    samples = concat.augmented_set(
        hard,
        settings.share,
        config.gr_vl.seed,
        text_mode=settings.text_mode,
        max_side=settings.max_side,
        balance=settings.balance,
        workers=settings.workers,
        cache=cache,
        report=partial(progress.report, Path(settings.out).parent),
    )
    guard = dialects.spec(config.gr_vl.dialect)
    io.write(Path(settings.out), samples, guard)
    harms = [task for task in guard.tasks if task.harm]
    contact_sheet.write(Path(settings.out).with_name("contact_sheet.png"), samples[len(hard) :], harms)
    return {"train": count(samples), "pairs": len(samples) - len(hard)}
