"""Rejection sampling: answer each training sample several times and keep what the guard gets wrong."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects, limits, memory, rl_limits
from gr_vl.augment import difficulty, mining
from gr_vl.data import index, io
from gr_vl.errors import ConfigError, DataError
from gr_vl.seeding import seed_of
from gr_vl.stages import Facts, Kind, read
from gr_vl.stages import serve as servers
from gr_vl.stages.data import count
from gr_vl.stages.lengths import Kept
from gr_vl.stages.serve import Generation, serve


@dataclass
class Mine:
    """Which samples are kept."""

    folder: str
    rule: str
    image_bypass: bool
    keep: Any
    easy: float


@dataclass
class Settings:
    """Of this kind alone."""

    mine: Mine
    generation: Generation


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse an unknown rule, shares that are none, and what cannot be drawn."""
    mine = settings.mine
    mining.keep(mine.rule, 0, 1)
    limits.positive(config, "gr_vl.mine.keep")
    if not 0 <= mine.easy < 1:
        raise ConfigError(f"gr_vl.mine.easy={mine.easy} must be a share in [0, 1); use 0 for hard samples alone")
    facts = servers.check(settings.generation, config, files)
    limits.model(config, "gr_vl.generation.model", files, *rl_limits.generated(config))
    return facts | {"rule": mine.rule}


def run(config: DictConfig) -> dict[str, Any]:
    """Write the hard samples, every sample's errors, and the difficulty report; the corpus is never in memory whole."""
    settings, seed = read(Settings, config).mine, config.gr_vl.seed
    folder = Path(settings.folder)
    generator, request, kept = serve(config, folder)
    corpus, rows = _drawn(kept, folder / "drawn.parquet", config.gr_vl.generation.samples, seed)
    answered = generator.answers(io.iterate(corpus), rows, request, folder / "answers.jsonl")
    grammar = dialects.get(config.gr_vl.dialect)
    errors = [difficulty.errors(sample, answers, grammar) for sample, answers in answered]
    difficulty.write(folder, errors)
    (folder / "difficulty.json").write_text(json.dumps(difficulty.histogram(errors, request.answers), indent=2))
    hard = mining.select(
        errors,
        settings.rule,
        limit=settings.keep,
        seed=seed,
        image_bypass=settings.image_bypass,
        easy=settings.easy,
    )
    if not hard:
        raise DataError(f"gr_vl.mine.rule={settings.rule}: none of {rows} samples is hard; use mixed or any_wrong")
    chosen = ((row, id) for row, id in enumerate(io.ids(corpus)) if id in hard)
    out = index.write(folder / "hard.parquet", corpus, chosen)
    return {
        "sampled": rows,
        "answers": rows * request.answers,
        "hard": count(io.iterate(out)),
        "quarantined": kept.quarantined,
    }


def _drawn(kept: Kept, path: Path, number: int | None, seed: int) -> tuple[Path, int]:
    """The file of the samples that are answered, and their number: all, or a uniform draw in an order of its own."""
    if number is None or number >= kept.rows:
        return kept.path, kept.rows
    places = random.Random(seed_of(seed, "mining")).sample(range(kept.rows), number)
    ids = io.ids(kept.path)
    return index.write(path, kept.path, ((place, ids[place]) for place in places)), number


def _rows(config: DictConfig, rows: int | None) -> int | None:
    keep = read(Settings, config).mine.keep
    return int(keep) if keep else None


KIND = Kind(
    name="mine",
    help="Rejection sampling: keep what the guard gets wrong.",
    order=3,
    settings=Settings,
    check=check,
    run=run,
    ray=True,
    memory=memory.generation,
    rows_after=_rows,
    makes={"hard (mined)": "hard"},
)
