"""Write a guard's folder for others, reload it, and call it good only if it says what its source says."""

import json
import shutil
from pathlib import Path
from typing import Any

from transformers import GenerationConfig

from gr_vl import dialects, model_files, models, specs
from gr_vl.encoding import Encoder
from gr_vl.errors import StageError
from gr_vl.release.card import card
from gr_vl.release.probes import answer_log_probs, picture, probes, prompt_ids
from gr_vl.release.source import Source
from gr_vl.release.template import chat_template
from gr_vl.sampling import vision_ids
from gr_vl.schema import Sample

TOLERANCE = 1e-5
"""Nats, of a whole answer's log-probability."""
MAX_TOKENS = 1024


def release(source: Source, out: Path) -> float:
    """Write `out`, at once or not at all. Returns the largest difference on the probes, in nats.

    Raises StageError when the reloaded folder renders another prompt or differs by more than `TOLERANCE`.
    """
    dtype = model_files.stored_dtype(source.model)
    model, encoder = _load(source.model, source.dialect, dtype)
    samples = probes(source, encoder)
    expected = answer_log_probs(model, encoder, samples)
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        _write(model, encoder, source, part)
        worst = compare(part, source.dialect, samples, [encoder.prompt(sample).ids for sample in samples], expected)
        (part / "README.md").write_text(card(source, dtype, len(samples), worst), encoding="utf-8")
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    part.rename(out)
    return worst


def compare(
    folder: Path, dialect: str, samples: list[Sample], prompts: list[list[int]], expected: list[float]
) -> float:
    """The largest difference of log-probabilities, in nats. StageError when it, or a rendered prompt, is not good."""
    if strange := [path.name for path in folder.iterdir() if path.suffix in (".bin", ".pt", ".pth", ".pkl")]:
        raise StageError(f"{folder}: holds {strange[0]}; only safetensors are released")
    # No dtype: as any other program loads it.
    model, encoder = _load(folder, dialect, "auto")
    for sample, ids in zip(samples, prompts, strict=True):
        if prompt_ids(encoder.processor, sample) != ids:
            raise StageError(f"{folder}: its chat template renders the probe {sample.id!r:.80} in other tokens")
    found = answer_log_probs(model, encoder, samples)
    worst = max(abs(a - b) for a, b in zip(found, expected, strict=True))
    if not worst <= TOLERANCE:
        raise StageError(f"{folder}: reloaded, log-probabilities differ by {worst:.1e}, more than {TOLERANCE:.0e}")
    return worst


def _load(folder: Path, dialect: str, dtype: str) -> tuple[Any, Encoder]:
    encoder = Encoder.load(folder, dialect)
    return models.load_guard(folder, encoder, dtype), encoder


def _write(model: Any, encoder: Encoder, source: Source, out: Path) -> None:
    processor = encoder.processor
    tokenizer, original = encoder.tokenizer, processor.chat_template
    model.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=MAX_TOKENS,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        suppress_tokens=vision_ids(tokenizer) or None,
    )
    model.save_pretrained(out, safe_serialization=True)
    template = chat_template(encoder, picture())
    try:
        processor.chat_template = tokenizer.chat_template = template
        processor.save_pretrained(out)
    finally:
        processor.chat_template = tokenizer.chat_template = original
    guard = {"guard": dialects.spec(source.dialect).to_json()}
    (out / specs.EXPORTED).write_text(json.dumps(guard) + "\n", encoding="utf-8")
