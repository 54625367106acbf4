"""An ablation as a picture: what every seed scored, what that is against the reference, and at which length."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

_INK, _FAINT = "#0072b2", "#56b4e9"


def save(found: Mapping[str, Any], path: Path) -> None:
    """Draw the content of `ablation.json` as PNG: a row a variant, a dot a seed, a bar an interval."""
    names = list(found["variants"])
    figure = Figure(figsize=(10, 1.2 + 0.42 * len(names)), layout="constrained", dpi=150)
    scores, differences, tokens = figure.subplots(1, 3, sharey=True)
    for row, variant in enumerate(found["variants"].values()):
        _seeds(scores, row, variant, "mean_f1", 100)
        _seeds(tokens, row, variant, "mean_output_tokens", 1)
        _interval(differences, row, variant)
    scores.set_xlabel("mean F1, %: seeds and mean")
    differences.set_xlabel(f"mean F1 against {found['reference']}: mean, 95%")
    differences.axvline(0, color="#6b7280", linewidth=0.8, zorder=0)
    tokens.set_xlabel("output tokens: seeds and mean")
    scores.set_yticks(range(len(names)), names)
    scores.set_ylim(len(names) - 0.5, -0.5)
    for axes in (scores, differences, tokens):
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x", linewidth=0.4)
    part = path.with_name(f"{path.name}.part")
    figure.savefig(part, format="png")
    part.replace(path)


def _seeds(axes: Axes, row: int, variant: Mapping[str, Any], metric: str, factor: int) -> None:
    values = [factor * cell[metric] for cell in variant["cells"].values() if cell[metric] is not None]
    if values:
        axes.plot(values, [row] * len(values), "o", color=_FAINT, markersize=4)
        axes.plot([sum(values) / len(values)], [row], "|", color=_INK, markersize=14, markeredgewidth=2)


def _interval(axes: Axes, row: int, variant: Mapping[str, Any]) -> None:
    value = variant.get("difference", {}).get("mean_f1")
    if value is None:
        return
    if value["low"] is not None:
        axes.plot([100 * value["low"], 100 * value["high"]], [row, row], color=_INK, linewidth=1.5)
    axes.plot([100 * value["mean"]], [row], "o", color=_INK, markersize=5)
