"""One run against another on the same samples: what a report of the two adds to the report of the first."""

from collections.abc import Mapping
from typing import Any

from gr_vl.errors import DataError
from gr_vl.evaluation import transcripts
from gr_vl.evaluation.metrics import Judged, compare
from gr_vl.evaluation.run_folder import RunFolder, corpus_of, images_of, model_name

FLIPPED = 4
"""Samples shown of each kind and model."""


def against(run: RunFolder, other: RunFolder) -> dict[str, Any]:
    """Every model that both runs have, tested on the first split of `run`, with samples that flipped.

    Raises DataError when there is no such model, or when the samples differ.
    """
    split = next((name for name in run.judged if name in other.judged), None)
    common = [name for name in run.judged[split] if name in other.judged[split]] if split else []
    if split is None or not common:
        raise DataError(f"{other.path}: has no evaluated model in common with {run.path}; evaluate the same models")
    names = _names(run, other)
    models = {name: (run.judged[split][name], other.judged[split][name]) for name in common}
    seed = int(run.meta.get("seed") or 0)
    try:
        tests = {name: compare(*pair, unparsable=run.unparsable, seed=seed) for name, pair in models.items()}
    except DataError as error:
        raise DataError(f"{run.path} and {other.path}: {error}; runs of different seeds draw different data") from None
    return {
        "names": names,
        "tests": tests,
        "evaluations": {name: (run.evaluations[split][name], other.evaluations[split][name]) for name in common},
        "settings": _settings(run, other, names),
        "groups": _groups(run, split, models, names),
    }


def _names(run: RunFolder, other: RunFolder) -> tuple[str, str]:
    names = run.path.resolve().name, other.path.resolve().name
    return names if names[0] != names[1] else (str(run.path), str(other.path))


def _settings(run: RunFolder, other: RunFolder, names: tuple[str, str]) -> dict[str, dict[str, str]]:
    """What differs between the two: run.json, and which stages had another configuration."""
    differing: dict[str, dict[str, str]] = {}
    for key in dict.fromkeys((*run.meta, *other.meta)):
        values = run.meta.get(key), other.meta.get(key)
        if values[0] != values[1]:
            differing[str(key)] = dict(zip(names, map(str, values), strict=True))
    for stage in dict.fromkeys((*run.stages, *other.stages)):
        hashes = [str(one.stages.get(stage, {}).get("config_hash", "not run"))[:12] for one in (run, other)]
        if hashes[0] != hashes[1]:
            differing[f"configuration of {stage}"] = dict(zip(names, hashes, strict=True))
    return differing


def _groups(
    run: RunFolder, split: str, models: Mapping[str, tuple[list[Judged], list[Judged]]], names: tuple[str, str]
) -> list[dict[str, Any]]:
    groups = []
    for model, (ours, theirs) in models.items():
        rows = [dict(zip(names, pair, strict=True)) for pair in zip(ours, theirs, strict=True)]
        for better, worse in (names, names[::-1]):
            # The longest reasoning says most about why a verdict turned.
            flipped = [row for row in rows if row[better].right and not row[worse].right]
            flipped.sort(key=lambda row: -max(item.answer.tokens for item in row.values()))
            groups.append((f"{model_name(model)}: right in {better}, wrong in {worse}", flipped))
    shown = {row[names[0]].sample.id for _, flipped in groups for row in flipped[:FLIPPED]}
    images = images_of(corpus_of(run.path, split), shown)
    return [
        {
            "title": f"{title}, {min(len(flipped), FLIPPED)} of {len(flipped)}",
            "samples": [transcripts.view(row, images[row[names[0]].sample.id]) for row in flipped[:FLIPPED]],
        }
        for title, flipped in groups
        if flipped
    ]
