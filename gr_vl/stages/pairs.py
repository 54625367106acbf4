"""Pairs for DPO from the answers of one guard, or of several that were trained on subsets of the sources."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects, limits
from gr_vl.augment import preference
from gr_vl.augment.preference import Mined, Preference
from gr_vl.data import io
from gr_vl.errors import DataError
from gr_vl.evaluation.answers import read_answers
from gr_vl.stages import Facts, Kind, read


@dataclass
class Reduced:
    """A guard that was trained without some sources, and the folder of its answers."""

    folder: str
    without: list[str]


@dataclass
class Pairs:
    """Whose answers are paired, and how."""

    corpus: str
    out: str
    choice: str
    gamma: float
    held_out: float
    full: str
    reduced: dict[str, Reduced]
    merge: str = "released"


@dataclass
class Settings:
    """Of this kind alone."""

    pairs: Pairs


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse an unknown choice or rule, and weights and shares that are none."""
    wanted, dialect = settings.pairs, dialects.get(config.gr_vl.dialect)
    preference.pairs([], [], dialect, choice=wanted.choice, seed=0)
    preference.merge([], [], rule=wanted.merge)
    preference.weighted([], wanted.gamma)
    preference.split([], wanted.held_out)
    limits.rows(wanted.corpus, files)
    return {"choice": wanted.choice, "gamma": wanted.gamma, "guards": 1 + len(wanted.reduced)}


def run(config: DictConfig) -> dict[str, Any]:
    """Write the weighted pairs, and beside them those held out; returns their counts by task and source."""
    settings = read(Settings, config).pairs
    samples = io.read(Path(settings.corpus))

    def mined(folder: str) -> list[Preference]:
        return preference.pairs(
            samples,
            read_answers(Path(folder) / "answers.jsonl"),
            dialects.get(config.gr_vl.dialect),
            choice=settings.choice,
            seed=config.gr_vl.seed,
        )

    reduced = [Mined(mined(guard.folder), frozenset(guard.without)) for guard in settings.reduced.values()]
    merged = preference.merge(mined(settings.full), reduced, rule=settings.merge)
    learned, held_out = preference.split(merged, settings.held_out)
    found = preference.weighted(learned, settings.gamma)
    if not found:
        raise DataError(
            f"{settings.full}: no sample has right and wrong answers to one task; mine with more answers or more heat"
        )
    guard = dialects.spec(config.gr_vl.dialect)
    preference.write(Path(settings.out), found, guard)
    preference.write(Path(settings.out).with_name("held_out.parquet"), held_out, guard)
    return {"pairs": preference.count(found), "held_out": preference.count(held_out)}


KIND = Kind(
    name="pairs",
    help="Pairs of right and wrong answers to hard samples.",
    order=5,
    settings=Settings,
    check=check,
    run=run,
)
