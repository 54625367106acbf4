"""The training corpus without some of its sources: what one guard of an ensemble learns from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import limits
from gr_vl.data import index, io
from gr_vl.errors import ConfigError
from gr_vl.stages import Facts, Kind, read


@dataclass
class Subset:
    """Which sources each guard does without."""

    corpus: str
    folder: str
    without: dict[str, list[str]]


@dataclass
class Settings:
    """Of this kind alone."""

    subset: Subset


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse a corpus that is not there."""
    limits.rows(settings.subset.corpus, files)
    return {"subsets": list(settings.subset.without)}


def run(config: DictConfig) -> dict[str, Any]:
    """Write one index of the corpus for each name in the block `without`; returns their sizes."""
    settings = read(Settings, config).subset
    corpus = Path(settings.corpus)
    rows = [(sample.source, (row, sample.id)) for row, sample in enumerate(io.iterate(corpus))]
    known, sizes = {source for source, _ in rows}, {}
    for name, without in settings.without.items():
        if unknown := set(without) - known:
            raise ConfigError(
                f"gr_vl.subset.without.{name}: {', '.join(sorted(unknown))} is no source of {corpus}, whose column "
                f"source has: {', '.join(sorted(known))}; name some of these, or build the corpus with its origins"
            )
        kept = [row for source, row in rows if source not in without]
        index.write(Path(settings.folder) / f"{name}.parquet", corpus, kept)
        sizes[name] = len(kept)
    return {"rows": sizes}


KIND = Kind(
    name="subset",
    help="Training corpora that lack some sources, for an ensemble (GuardReasoner).",
    order=4,
    settings=Settings,
    check=check,
    run=run,
)
