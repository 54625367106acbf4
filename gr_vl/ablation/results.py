"""What a grid has shown so far, from the answers of its cells: `ablation.json`, `ablation.md` and `ablation.png`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gr_vl.ablation import plot, table
from gr_vl.ablation.grid import Grid
from gr_vl.ablation.plan import Cell
from gr_vl.ablation.runner import is_done
from gr_vl.ablation.statistics import difference, spread
from gr_vl.data.build.files import replace_text
from gr_vl.errors import DataError
from gr_vl.evaluation import run_folder
from gr_vl.evaluation.metrics import Judged, difference_interval

Answers = dict[tuple[str, int], list[Judged]]


def write(grid: Grid, cells: Sequence[Cell], root: Path) -> Path:
    """Write the three files into `root`; returns the table's path. Cells that are not done are named in them."""
    found = collect(grid, cells)
    for name, content in (
        ("ablation.json", json.dumps(found, indent=2) + "\n"),
        ("ablation.md", table.markdown(found)),
    ):
        replace_text(root / name, content)
    plot.save(found, root / "ablation.png")
    return root / "ablation.md"


def collect(grid: Grid, cells: Sequence[Cell]) -> dict[str, Any]:
    """The content of `ablation.json`. Raises DataError when a finished cell cannot be scored."""
    done = [cell for cell in cells if is_done(cell)]
    splits, scores, answers = set(), {}, Answers()
    for cell in done:
        split, scores[cell.variant, cell.seed], answers[cell.variant, cell.seed] = _read(cell, grid)
        splits.add(split)
    metrics = table.columns(scores.values())
    return {
        "name": grid.name,
        "recipe": grid.recipe,
        "model": grid.score,
        "overrides": list(grid.overrides),
        "split": ", ".join(sorted(splits)),
        "samples": sorted({int(score["n"]) for score in scores.values()}),
        "sources": list(grid.sources),
        "seeds": list(grid.seeds),
        "reference": grid.reference,
        "missing": [cell.name for cell in cells if cell not in done],
        "variants": {variant: _variant(grid, variant, scores, answers, metrics) for variant in grid.variants},
    }


def _read(cell: Cell, grid: Grid) -> tuple[str, dict[str, Any], list[Judged]]:
    folder = run_folder.load(cell.folder)
    for split, models in folder.judged.items():
        if grid.score in models:
            judged = [item for item in models[grid.score] if not grid.sources or item.sample.source in grid.sources]
            if not judged:
                raise DataError(f"sources={list(grid.sources)}: no sample of {cell.folder}'s {split} comes from there")
            return split, dict(folder.score(judged).summary()), judged
    raise DataError(f"{cell.folder}: no answers of {grid.score} that can be scored; remove its eval folder, run again")


def _variant(
    grid: Grid, variant: str, scores: Mapping[tuple[str, int], Any], answers: Answers, metrics: Sequence[str]
) -> dict[str, Any]:
    own, reference = _by_seed(scores, variant), _by_seed(scores, grid.reference)
    found: dict[str, Any] = {
        "overrides": list(grid.variants[variant]),
        "cells": {str(seed): score for seed, score in own.items()},
        "spread": {metric: _plain(spread(list(_known(own, metric).values()))) for metric in metrics},
    }
    if variant == grid.reference:
        return found
    compared = {metric: difference(_known(own, metric), _known(reference, metric)) for metric in metrics}
    bootstrap = {
        str(seed): difference_interval(answers[variant, seed], answers[grid.reference, seed], seed=seed)
        for seed in own
        if seed in reference
    }
    return found | {
        "difference": {metric: _plain(value) for metric, value in compared.items()},
        "bootstrap_mean_f1": bootstrap,
    }


def _by_seed(scores: Mapping[tuple[str, int], Any], variant: str) -> dict[int, dict[str, Any]]:
    return {seed: score for (name, seed), score in scores.items() if name == variant}


def _known(by_seed: Mapping[int, Mapping[str, Any]], metric: str) -> dict[int, float]:
    return {seed: score[metric] for seed, score in by_seed.items() if score.get(metric) is not None}


def _plain(value: Any) -> dict[str, Any] | None:
    return None if value is None else asdict(value)
