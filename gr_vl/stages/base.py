"""Build the base model that nothing has to be downloaded for."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects, limits
from gr_vl.data import io
from gr_vl.schema import Sample
from gr_vl.stages import Facts, Kind, read


@dataclass
class Base:
    """The model."""

    corpus: str
    out: str
    matching: bool


@dataclass
class Settings:
    """Of this kind alone."""

    base: Base


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse a corpus that is not there."""
    limits.rows(settings.base.corpus, files)
    return {}


def run(config: DictConfig) -> dict[str, Any]:
    """Train a tokenizer on the corpus and save a Qwen2.5-VL built from its configuration."""
    from gr_vl import tiny_model

    dialect = dialects.get(config.gr_vl.dialect)

    def text(sample: Sample) -> str:
        parts = [part["text"] for m in dialect.messages(sample) for part in m["content"] if part["type"] == "text"]
        return "\n".join(parts if sample.reasoning is None else [*parts, dialect.target(sample)])

    settings = read(Settings, config).base
    samples = io.read(Path(settings.corpus))
    tiny_model.build(map(text, samples), Path(settings.out), config.gr_vl.seed, matching=settings.matching)
    return {}


KIND = Kind(
    name="base",
    help="Build the base model that nothing has to be downloaded for.",
    order=1,
    settings=Settings,
    check=check,
    run=run,
    title="Base",
)
