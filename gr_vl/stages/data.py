"""Write the corpus: train, validation and test splits, with their counts by modality and class."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects
from gr_vl.data import demo, io, measured, xstest
from gr_vl.data.demo import policies
from gr_vl.dialects import Dialect
from gr_vl.errors import DataError
from gr_vl.schema import Sample

SPLITS = ("train", "validation", "test")
UNLABELLED = "question without a known label"


def run(config: DictConfig) -> dict[str, Any]:
    """Build or bring the splits; returns their counts."""
    settings, folder = config.gr_vl.data, Path(config.gr_vl.run) / "data"
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


def _build(settings: DictConfig, seed: int, dialect: Dialect, dropped: Counter[str]) -> Mapping[str, Iterable[Sample]]:
    """The splits; rows that are no sample, or no question, are counted in `dropped` as the others are read."""
    if settings.source == "parquet":
        corpora = {split: io.iterate(Path(settings.folder) / f"{split}.parquet") for split in SPLITS}
        return {split: _questions(samples, dialect, dropped) for split, samples in corpora.items()}
    sizes = {split: int(settings[split]) for split in SPLITS}
    if settings.source == "demo_policy":
        return policies.build(seed, sizes, settings.policy_shift)
    if settings.source == "demo":
        return demo.build(seed, sizes, dialect.tasks)
    loaded = xstest.load(Path(settings.folder))
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
