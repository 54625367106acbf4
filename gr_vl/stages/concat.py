"""Add safety-aware pairs to the hard samples."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects, limits, progress
from gr_vl.augment import concat, contact_sheet, pairs
from gr_vl.data import io
from gr_vl.data.image_cache import ImageCache
from gr_vl.errors import ConfigError
from gr_vl.stages import Facts, Kind, read
from gr_vl.stages.data import count

GIGABYTE = 10**9


@dataclass
class Concat:
    """How many pairs are added, and what they look like."""

    corpus: str
    out: str
    share: float
    balance: str
    text_mode: str
    max_side: int
    workers: int
    cache: str | None
    cache_gb: float


@dataclass
class Settings:
    """Of this kind alone."""

    concat: Concat


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse shares that are none, unknown modes, and a corpus that is not there."""
    wanted = settings.concat
    if not 0 <= wanted.share < 1:
        raise ConfigError(f"gr_vl.concat.share={wanted.share} must lie in [0, 1); use the paper's 0.2")
    for key, value, known in (
        ("text_mode", wanted.text_mode, concat.TEXT_MODES),
        ("balance", wanted.balance, pairs.CHOICES),
    ):
        if value not in known:
            raise ConfigError(f"gr_vl.concat.{key}={value!r} is unknown; use one of: {', '.join(known)}")
    limits.positive(config, "gr_vl.concat.max_side", "gr_vl.concat.workers")
    if wanted.cache_gb <= 0:
        room = wanted.cache_gb
        raise ConfigError(f"gr_vl.concat.cache_gb={room} must be positive; use gr_vl.concat.cache=null for no cache")
    limits.rows(wanted.corpus, files)
    return {"share of pairs": wanted.share}


def run(config: DictConfig) -> dict[str, Any]:
    """Write the RL training set and a picture of some of its pairs; returns its counts."""
    settings = read(Settings, config).concat
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


def _rows(config: DictConfig, rows: int | None) -> int | None:
    return round(rows / (1 - read(Settings, config).concat.share)) if rows else rows


KIND = Kind(
    name="concat",
    help="Add safety-aware pairs to the hard samples.",
    order=7,
    settings=Settings,
    check=check,
    run=run,
    rows_after=_rows,
    makes={"concatenated": "train"},
)
