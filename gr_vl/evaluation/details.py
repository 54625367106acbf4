"""What stands behind the headline of a report: intervals under both rules, ratios, paired tests, published rows,
scores and thresholds, and the hashes of what was read."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gr_vl.data import io
from gr_vl.data.build.files import sha256
from gr_vl.evaluation import peers, plots, published
from gr_vl.evaluation.metrics import Calibration, Evaluation, Judged, Paired, calibration, compare
from gr_vl.evaluation.run_folder import RunFolder, corpus_of
from gr_vl.schema import Task


def details(folder: RunFolder) -> dict[str, Any]:
    """The content of the section, for the split that is reported in depth; nothing without an evaluation."""
    if not folder.judged:
        return {}
    split, judged = next(iter(folder.judged.items()))
    evaluations = folder.evaluations[split]
    scored = {model: _calibrations(items, evaluations[model]) for model, items in judged.items()}
    return {
        "unparsable": folder.unparsable,
        "paired": _paired(judged, folder),
        "published": published.tables(folder.evaluations),
        "averages": published.averages(folder.evaluations),
        "calibration": {model: by_task for model, by_task in scored.items() if by_task},
        "plots": _score_plots(scored, folder.colours),
        "hashes": _hashes(folder.path, split, judged),
    }


def _paired(judged: Mapping[str, list[Judged]], folder: RunFolder) -> dict[tuple[str, str], list[Paired]]:
    seed = int(folder.meta.get("seed") or 0)
    own = [name for name in judged if name in folder.models]
    with_others = [(own[-1], name) for name in judged if name not in own] if own else []
    return {
        pair: compare(judged[pair[0]], judged[pair[1]], unparsable=folder.unparsable, seed=seed)
        for pair in (*pairs(folder.trained), *with_others)
        if pair[0] in judged and pair[1] in judged
    }


def pairs(trained: Sequence[str]) -> list[tuple[str, str]]:
    """Which models of a run are tested against which: each against those made before it, the nearest first.

    >>> pairs(["sft", "rl", "rl_eco"])
    [('rl', 'sft'), ('rl_eco', 'rl'), ('rl_eco', 'sft')]
    """
    return [(later, earlier) for index, later in enumerate(trained) for earlier in reversed(trained[:index])]


def _calibrations(judged: list[Judged], result: Evaluation) -> dict[Task, Calibration]:
    found = {task: calibration(judged, task) for task in result.tasks}
    return {task: scores for task, scores in found.items() if scores is not None}


def _score_plots(scored: Mapping[str, Mapping[Task, Calibration]], colours: Mapping[str, int]) -> dict[str, Any]:
    drawn: dict[str, Any] = {}
    for task in dict.fromkeys(task for by_task in scored.values() for task in by_task):
        own = {model: by_task[task] for model, by_task in scored.items() if task in by_task}
        reliability = {model: [(part.score, part.positive) for part in c.bins] for model, c in own.items()}
        drawn[f"{task}: share positive by score"] = plots.unit_plot(
            reliability, f"reliability-{task}", colours, diagonal=True
        )
        for index, name in ((1, "precision"), (2, "recall")):
            curves = {model: [(t[0], t[index]) for t in c.thresholds] for model, c in own.items()}
            drawn[f"{task}: {name} by threshold"] = plots.unit_plot(curves, f"{name}-{task}", colours)
    return drawn


def _hashes(run: Path, split: str, models: Mapping[str, Any]) -> dict[str, str]:
    folders = [run / "eval" / model for model in models]
    answers = [(path / peers.ANSWERS) if (path / peers.ASKED).exists() else path / f"{split}.jsonl" for path in folders]
    paths = [*io.files(corpus_of(run, split)), *answers]
    return {os.path.relpath(path, run): sha256(path) for path in paths}
