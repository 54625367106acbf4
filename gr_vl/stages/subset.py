"""The training corpus without some of its sources: what one guard of an ensemble learns from."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.data import io
from gr_vl.errors import ConfigError


def run(config: DictConfig) -> dict[str, Any]:
    """Write one corpus for each name in the block `without`; returns their sizes."""
    settings = config.gr_vl.subset
    corpus = Path(settings.corpus)
    known = {sample.source for sample in io.iterate(corpus)}
    sizes = {}
    for name, without in settings.without.items():
        if unknown := set(without) - known:
            raise ConfigError(
                f"gr_vl.subset.without.{name}: {', '.join(sorted(unknown))} is no source of {corpus}, whose column "
                f"source has: {', '.join(sorted(known))}; name some of these, or build the corpus with its origins"
            )
        kept = (sample for sample in io.iterate(corpus) if sample.source not in without)
        sizes[name] = io.write(Path(settings.folder) / f"{name}.parquet", kept, io.guard_of(corpus))
    return {"rows": sizes}
