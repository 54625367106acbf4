"""Write the corpus: train, validation and test splits, with their counts by modality and class."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects, limits
from gr_vl.data import demo, io, measured, xstest
from gr_vl.data.demo import policies
from gr_vl.dialects import Dialect
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Sample
from gr_vl.stages import Facts, Kind, read

SPLITS = ("train", "validation", "test")
SOURCES = ("demo", "demo_policy", "xstest", "parquet")
UNLABELLED = "question without a known label"


@dataclass
class Data:
    """What the corpus is made of."""

    source: str
    folder: str | None
    train: int
    validation: int
    test: int
    policy_shift: float = 0.8


@dataclass
class Settings:
    """Of this kind alone."""

    data: Data


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse an unknown source, an empty split and a folder that is not there."""
    data = settings.data
    if data.source not in SOURCES:
        raise ConfigError(f"gr_vl.data.source={data.source!r} is unknown; use one of: {', '.join(SOURCES)}")
    limits.positive(config, *(f"gr_vl.data.{split}" for split in SPLITS))
    if data.source == "demo_policy" and not 0 <= data.policy_shift <= 1:
        raise ConfigError(f"gr_vl.data.policy_shift={data.policy_shift} must lie in [0, 1]; use 0.8")
    if data.source in ("xstest", "parquet") and files and not Path(str(data.folder)).is_dir():
        raise DataError(f"gr_vl.data.folder={data.folder}: no such folder; source={data.source} reads its files there")
    return {"source": data.source}


def run(config: DictConfig) -> dict[str, Any]:
    """Build or bring the splits; returns their counts."""
    settings, folder = read(Settings, config).data, Path(config.gr_vl.run) / "data"
    dialect, guard = dialects.get(config.gr_vl.dialect), dialects.spec(config.gr_vl.dialect)
    counts, dropped = dict[str, Any](), Counter[str]()
    for split, samples in _build(settings, config.gr_vl.seed, dialect, dropped).items():
        with io.Writer(folder / f"{split}.parquet", guard) as writer:
            counts[split] = count(map(writer.add, samples))
            if not writer.count and settings.source != "parquet":
                raise DataError(f"gr_vl.data.{split}: the source {settings.source} left no sample in this split")
        known = measured.path_of(Path(settings.folder or "") / writer.path.name)
        if settings.source == "parquet" and known.is_file():
            shutil.copyfile(known, folder / known.name)
    return counts | {"quarantined": dict(dropped)}


def _questions(samples: Iterable[Sample], dialect: Dialect, dropped: Counter[str]) -> Iterator[Sample]:
    """What the guard is asked: a sample for each question of its dialect, with the labels that the answer settles.

    A question whose answer nobody knows teaches and measures nothing: it is left out and counted in `dropped`.
    """
    for sample in samples:
        for question, tasks in dialect.questions(sample):
            labels, taught = (
                {task: label for task, label in known.items() if task in tasks}
                for known in (question.labels, question.taught or {})
            )
            if labels:
                yield replace(question, labels=labels, taught=taught or None)
            else:
                dropped[UNLABELLED] += 1


def _build(settings: Data, seed: int, dialect: Dialect, dropped: Counter[str]) -> Mapping[str, Iterable[Sample]]:
    """The splits; rows that are no sample, or no question, are counted in `dropped` as the others are read."""
    if settings.source == "parquet":
        corpora = {split: io.iterate(Path(str(settings.folder)) / f"{split}.parquet") for split in SPLITS}
        return {split: _questions(samples, dialect, dropped) for split, samples in corpora.items()}
    sizes = {"train": settings.train, "validation": settings.validation, "test": settings.test}
    if settings.source == "demo_policy":
        return policies.build(seed, sizes, settings.policy_shift)
    if settings.source == "demo":
        return demo.build(seed, sizes, dialect.tasks)
    loaded = xstest.load(Path(str(settings.folder)))
    total = sum(sizes.values())
    splits = xstest.split_by_prompt(loaded.samples, seed, {name: size / total for name, size in sizes.items()})
    dropped.update(bad.reason for bad in loaded.quarantined)
    return {split: _questions(samples, dialect, dropped) for split, samples in splits.items()}


def count(samples: Iterable[Sample]) -> dict[str, int]:
    """Number of samples, of each modality and of its labels: {"n": .., "image": .., "image/prompt/harmful": ..}."""
    number, tally = 0, Counter[str]()
    for sample in samples:
        number += 1
        tally[sample.modality] += 1
        tally.update(f"{sample.modality}/{task}/{label}" for task, label in sample.labels.items())
    return {"n": number} | dict(sorted(tally.items()))


def _rows(config: DictConfig, rows: int | None) -> int | None:
    data = read(Settings, config).data
    return data.train if data.source == "demo" else None


KIND = Kind(
    name="data",
    help="Build the corpus: train, validation and test.",
    order=0,
    settings=Settings,
    check=check,
    run=run,
    rows_after=_rows,
    makes={split: split for split in SPLITS},
)
