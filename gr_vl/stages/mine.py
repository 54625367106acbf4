"""Rejection sampling: answer each training sample several times and keep what the guard gets wrong."""

import json
import random
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.augment import difficulty, mining
from gr_vl.data import io
from gr_vl.errors import DataError
from gr_vl.schema import Sample
from gr_vl.seeding import seed_of
from gr_vl.stages.data import count
from gr_vl.stages.serve import serve


def run(config: DictConfig) -> dict[str, Any]:
    """Write the hard samples, every sample's errors, and the difficulty report."""
    settings, seed, folder = config.gr_vl.mine, config.gr_vl.seed, Path(config.gr_vl.mine.folder)
    generator, request, kept = serve(config, folder)
    samples = _draw(io.read(kept.path), config.gr_vl.generation.samples, seed)
    k = request.answers
    answers = generator.answer(samples, request, folder / "answers.jsonl")
    errors = difficulty.count(samples, answers, k, config.gr_vl.dialect)
    difficulty.write(folder, errors)
    (folder / "difficulty.json").write_text(json.dumps(difficulty.histogram(errors, k), indent=2))
    right = {row.id: row.right for row in errors}
    hard = mining.select(
        samples,
        right,
        k,
        settings.rule,
        limit=settings.keep,
        seed=seed,
        image_bypass=settings.image_bypass,
        easy=settings.easy,
    )
    if not hard:
        raise DataError(
            f"gr_vl.mine.rule={settings.rule}: none of {len(samples)} samples is hard; use mixed or any_wrong"
        )
    io.write(folder / "hard.parquet", hard)
    return {"sampled": len(samples), "answers": len(answers), "hard": count(hard), "quarantined": kept.quarantined}


def _draw(samples: list[Sample], number: int | None, seed: int) -> list[Sample]:
    if number is None or number >= len(samples):
        return samples
    return random.Random(seed_of(seed, "mining")).sample(samples, number)
