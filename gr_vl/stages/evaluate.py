"""Greedy answers of every model of the run to the test split.

A benchmark is scored whole: a sample that cannot be asked, since it is too long or its image cannot be read, has an
answer that says why and holds no verdict. The failure rule decides what it counts as.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import limits, memory, rl_limits
from gr_vl.data import index, io
from gr_vl.evaluation import published
from gr_vl.evaluation.answers import append_answers, read_answers
from gr_vl.evaluation.metrics import evaluate
from gr_vl.evaluation.metrics.confusion import failure_rule
from gr_vl.schema import Answer, Sample
from gr_vl.stages import Facts, Kind, processing, read
from gr_vl.stages import serve as servers
from gr_vl.stages.serve import Generation, serve


@dataclass
class Eval:
    """Which models are scored, on what, and by which rule."""

    models: dict[str, Any]
    split: str
    scores: bool = False
    unparsable: str = "wrong"
    benchmarks: list[str] = field(default_factory=list)
    downloads: str | None = None


@dataclass
class Settings:
    """Of this kind alone."""

    eval: Eval
    generation: Generation


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse what cannot be drawn, models that are not there, and an unknown failure rule."""
    if names := settings.eval.benchmarks:
        published.check(names, settings.eval.downloads, files=files)
    # The corpus of benchmarks is written by the stage itself.
    facts = servers.check(settings.generation, config, files and not names)
    for name in settings.eval.models:
        limits.model(config, f"gr_vl.eval.models.{name}", files, *rl_limits.generated(config))
    return facts | {"models": list(settings.eval.models), "unparsable": failure_rule(settings.eval.unparsable)}


def run(config: DictConfig) -> dict[str, Any]:
    """Write each model's answers and return its F1."""
    from gr_vl.guard.model import Guard
    from gr_vl.guard.rescoring import rescore

    settings, folder = read(Settings, config).eval, Path(config.gr_vl.run) / "eval"
    corpus = Path(config.gr_vl.generation.corpus)
    if settings.benchmarks:
        published.write(corpus, settings.benchmarks, Path(str(settings.downloads)), config.gr_vl.dialect)
    generator, request, kept = serve(config, corpus.parent if settings.benchmarks else folder)
    scored = _scored(corpus, config.gr_vl.generation.samples)
    index.write(folder / f"{settings.split}.parquet", corpus, ((row, sample.id) for row, sample in scored))
    samples = [sample for _, sample in scored]
    fitting = [sample for sample in samples if sample.id not in kept.unasked]
    scores: dict[str, Any] = {}
    for name, path in settings.models.items():
        generator.load(Path(path))
        out = folder / name / f"{settings.split}.jsonl"
        _write_unasked(out, samples, kept.unasked)
        for _ in generator.answers(fitting, len(fitting), request, out, name):
            pass
        answers = read_answers(out)
        found = evaluate(samples, answers, dialect=config.gr_vl.dialect, unparsable=settings.unparsable)
        scores[name] = found.summary()
        if settings.scores:
            asked = {"device": config.gr_vl.device, "dialect": config.gr_vl.dialect}
            guard = Guard.from_pretrained(path, image_pixels=processing.pixels(config), **asked)
            rescore(guard, samples, out, f"{name}: scores")
    return {"scores": scores, "quarantined": kept.quarantined}


def _scored(corpus: Path, limit: int | None) -> list[tuple[int, Sample]]:
    """The first `limit` samples of the corpus and their rows, all without one. The first row with an id counts."""
    samples: dict[str, tuple[int, Sample]] = {}
    for row, sample in enumerate(io.iterate(corpus)):
        if len(samples) == limit:
            break
        samples.setdefault(sample.id, (row, sample))
    return list(samples.values())


def _write_unasked(out: Path, samples: list[Sample], unasked: Mapping[str, str]) -> None:
    """Append an answer that holds the reason for each sample that cannot be asked and has none in the file yet."""
    there = {answer.id for answer in read_answers(out)} if out.is_file() else set()
    left = [sample.id for sample in samples if sample.id in unasked and sample.id not in there]
    append_answers(out, (Answer(id, 0, "", 0, 0, finished=False, failure=unasked[id]) for id in left))


KIND = Kind(
    name="eval",
    help="Greedy answers of every model of the run, and their scores.",
    order=9,
    settings=Settings,
    check=check,
    run=run,
    ray=True,
    memory=memory.generation,
)
