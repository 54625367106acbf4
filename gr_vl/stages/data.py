"""Write the corpus: train, validation and test splits, with their counts by modality and class."""

import shutil
from collections import Counter
from collections.abc import Iterable, Iterator
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
    folder.mkdir(parents=True, exist_ok=True)
    if settings.source == "parquet":
        dropped, counts = Counter[str](), {}
        for split in SPLITS:
            corpus = Path(settings.folder) / f"{split}.parquet"
            with io.Writer(folder / corpus.name, guard) as writer:
                counts[split] = count(map(writer.add, _questions(io.iterate(corpus), dialect, dropped)))
            known = measured.path_of(corpus)
            if known.is_file():
                shutil.copyfile(known, folder / known.name)
        return counts | {"quarantined": dict(dropped)}
    sizes = {split: int(settings[split]) for split in SPLITS}
    splits, quarantined = _build(settings, config.gr_vl.seed, sizes, dialect)
    for split in SPLITS:
        if not splits[split]:
            raise DataError(f"gr_vl.data.{split}: the source {settings.source} left no sample in this split")
        io.write(folder / f"{split}.parquet", splits[split], guard)
    return {split: count(splits[split]) for split in SPLITS} | {"quarantined": quarantined}


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


def _build(
    settings: DictConfig, seed: int, sizes: dict[str, int], dialect: Dialect
) -> tuple[dict[str, list[Sample]], dict[str, int]]:
    if settings.source == "demo_policy":
        return policies.build(seed, sizes, settings.policy_shift), {}
    if settings.source == "demo":
        return demo.build(seed, sizes, dialect.tasks), {}
    loaded = xstest.load(Path(settings.folder))
    total = sum(sizes.values())
    splits = xstest.split_by_prompt(loaded.samples, seed, {name: size / total for name, size in sizes.items()})
    dropped = Counter(bad.reason for bad in loaded.quarantined)
    splits = {split: list(_questions(samples, dialect, dropped)) for split, samples in splits.items()}
    return splits, dict(dropped)


def count(samples: Iterable[Sample]) -> dict[str, int]:
    """Number of samples, and of each modality with each label: {"n": .., "image/prompt/harmful": ..}."""
    number, tally = 0, Counter[str]()
    for sample in samples:
        number += 1
        tally.update(f"{sample.modality}/{task}/{sample.labels[task]}" for task in sample.labels)
    return {"n": number} | dict(sorted(tally.items()))
