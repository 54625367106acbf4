"""Build the base model that nothing has to be downloaded for."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.schema import Sample


def run(config: DictConfig) -> dict[str, Any]:
    """Train a tokenizer on the corpus and save a Qwen2.5-VL built from its configuration."""
    from gr_vl import tiny_model

    dialect = dialects.get(config.gr_vl.dialect)

    def text(sample: Sample) -> str:
        parts = [part["text"] for m in dialect.messages(sample) for part in m["content"] if part["type"] == "text"]
        return "\n".join(parts if sample.reasoning is None else [*parts, dialect.target(sample)])

    samples = io.read(Path(config.gr_vl.base.corpus))
    settings = config.gr_vl.base
    tiny_model.build(map(text, samples), Path(settings.out), config.gr_vl.seed, matching=settings.matching)
    return {}
