"""Write the corpus: train, validation and test splits, with their counts by modality and class."""

import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.data import demo, io, measured, xstest
from gr_vl.errors import DataError
from gr_vl.schema import Sample, Task

SPLITS = ("train", "validation", "test")


def run(config: DictConfig) -> dict[str, Any]:
    """Build or bring the splits; returns their counts."""
    settings, folder = config.gr_vl.data, Path(config.gr_vl.run) / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if settings.source == "parquet":
        corpora = {split: Path(settings.folder) / f"{split}.parquet" for split in SPLITS}
        counts = {split: count(io.iterate(corpus)) for split, corpus in corpora.items()}
        for corpus in corpora.values():
            for path in (corpus, measured.path_of(corpus)):
                if path.is_file():
                    shutil.copyfile(path, folder / path.name)
        return counts
    sizes = {split: int(settings[split]) for split in SPLITS}
    splits, quarantined = _build(settings, config.gr_vl.seed, sizes)
    for split in SPLITS:
        if not splits[split]:
            raise DataError(f"gr_vl.data.{split}: the source {settings.source} left no sample in this split")
        io.write(folder / f"{split}.parquet", splits[split])
    return {split: count(splits[split]) for split in SPLITS} | {"quarantined": quarantined}


def _build(settings: DictConfig, seed: int, sizes: dict[str, int]) -> tuple[dict[str, list[Sample]], dict[str, int]]:
    if settings.source == "demo":
        return demo.build(seed, sizes), {}
    loaded = xstest.load(Path(settings.folder))
    total = sum(sizes.values())
    splits = xstest.split_by_prompt(loaded.samples, seed, {name: size / total for name, size in sizes.items()})
    return splits, dict(Counter(reason for _, reason in loaded.quarantined))


def count(samples: Iterable[Sample]) -> dict[str, int]:
    """Number of samples, and of each modality with each label: {"n": .., "image/prompt/harmful": ..}."""
    number, tally = 0, Counter[str]()
    for sample in samples:
        number += 1
        tally.update(f"{sample.modality}/{task}/{sample.labels[task]}" for task in Task if task in sample.labels)
    return {"n": number} | dict(sorted(tally.items()))
