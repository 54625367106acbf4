"""Greedy answers of every model of the run to the test split."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl.data import io
from gr_vl.evaluation.metrics import evaluate
from gr_vl.stages import processing
from gr_vl.stages.serve import serve


def run(config: DictConfig) -> dict[str, Any]:
    """Write each model's answers and return its F1."""
    from gr_vl.guard.model import Guard
    from gr_vl.guard.rescoring import rescore

    settings, folder = config.gr_vl.eval, Path(config.gr_vl.run) / "eval"
    generator, request, kept = serve(config, folder)
    samples = io.read(kept.path)[: config.gr_vl.generation.samples]
    # What does not fit or was not drawn has no answer: the report is about these.
    io.write(folder / f"{settings.split}.parquet", samples)
    scores: dict[str, Any] = {}
    for name, path in settings.models.items():
        generator.load(Path(path))
        out = folder / name / f"{settings.split}.jsonl"
        answered = generator.answers(samples, len(samples), request, out, name)
        answers = [answer for _, given in answered for answer in given]
        scores[name] = evaluate(samples, answers, dialect=config.gr_vl.dialect).summary()
        if settings.scores:
            asked = {"device": config.gr_vl.device, "dialect": config.gr_vl.dialect}
            guard = Guard.from_pretrained(path, image_pixels=processing.pixels(config), **asked)
            rescore(guard, samples, out, f"{name}: scores")
    return {"scores": scores, "quarantined": kept.quarantined}
