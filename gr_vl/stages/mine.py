"""Rejection sampling: answer each training sample several times and keep what the guard gets wrong."""

import json
import random
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects
from gr_vl.augment import difficulty, mining
from gr_vl.data import index, io
from gr_vl.errors import DataError
from gr_vl.seeding import seed_of
from gr_vl.stages.data import count
from gr_vl.stages.lengths import Kept
from gr_vl.stages.serve import serve


def run(config: DictConfig) -> dict[str, Any]:
    """Write the hard samples, every sample's errors, and the difficulty report; the corpus is never in memory whole."""
    settings, seed, folder = config.gr_vl.mine, config.gr_vl.seed, Path(config.gr_vl.mine.folder)
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
