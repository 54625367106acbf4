"""Plots as inline SVG that follows the page: its font, its ink, its colour per model, light or dark.

Matplotlib knows fixed colours only, so the plots are drawn in the light theme's and every one of them is then
replaced with a CSS variable. Titles and legends are the page's business.
"""

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from gr_vl.evaluation.curves import Curve, smooth

PALETTE = {
    "#6b7280": "#a3abb6",
    "#d55e00": "#f28a3c",
    "#0072b2": "#58aee8",
    "#009e73": "#2fc99a",
    "#cc79a7": "#e2a3c6",
    "#b87900": "#e6ab3c",
    "#3a97cd": "#86c8ef",
}
"""Okabe and Ito's palette, which colour-blind readers can tell apart, on light and on dark; one colour a model."""
_COLOURS = tuple(PALETTE)
_INK, _GRID = "#010203", "#010204"
_VARIABLES = {colour: f"var(--model{index})" for index, colour in enumerate(_COLOURS)} | {
    _INK: "currentColor",
    _GRID: "var(--rule)",
}
_DASHES: tuple[Any, ...] = ((0, (1, 1)), "-", "-", (0, (3, 2.5)))  # so that print in grey still tells the lines apart
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "gr_vl",
    "font.family": "sans-serif",
    "font.size": 8.5,
    "text.color": _INK,
    "axes.edgecolor": _GRID,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}


def colour(numbers: Mapping[str, int], model: str) -> str:
    """The CSS colour of a model by its number, the same everywhere on the page; of a run, by its name."""
    # A sum of code points, not hash(): the same colour in every process.
    return _VARIABLES[_hex(numbers.get(model, sum(map(ord, model))))]


def line_plot(curves: Mapping[str, Curve], key: str, numbers: Mapping[str, int]) -> Markup:
    """Curves over training steps, one a model: each step thin, the moving average over a twentieth thick."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas()
        for model, curve in curves.items():
            number = numbers[model]
            window = len(curve) // 20
            steps, values = zip(*curve, strict=True)
            if window > 1:
                axes.plot(steps, values, color=_hex(number), linewidth=0.7, alpha=0.35, zorder=1)
                values = tuple(value for _, value in smooth(curve, window))
            axes.plot(steps, values, color=_hex(number), linewidth=1.6, linestyle=_DASHES[number % len(_DASHES)])
            if len(curve) == 1:
                axes.plot(steps, values, "o", color=_hex(number), markersize=3)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4))
        return _svg(figure, key)


def unit_plot(
    curves: Mapping[str, Sequence[tuple[float, float]]], key: str, numbers: Mapping[str, int], *, diagonal: bool = False
) -> Markup:
    """Curves in the unit square, one a model; the diagonal is where a calibrated score lies."""
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas()
        if diagonal:
            axes.plot([0, 1], [0, 1], color=_GRID, linewidth=1)
        for model, points in curves.items():
            number, marker = numbers[model], ("o" if len(points) < 12 else "")
            xs, ys = zip(*points, strict=True)
            axes.plot(
                xs, ys, color=_hex(number), linewidth=1.6, linestyle=_DASHES[number % len(_DASHES)], marker=marker
            )
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.05))
        return _svg(figure, key)


def bar_plot(stacks: Mapping[str, Mapping[str, int]], key: str) -> Markup:
    """Bars by name, stacked: {bar: {part: height}}; parts are told apart by how dark they are."""
    parts = list(dict.fromkeys(part for bar in stacks.values() for part in bar))
    with mpl.rc_context(_STYLE):
        figure, axes = _canvas()
        axes.grid(visible=False)
        bottom = dict.fromkeys(stacks, 0)
        for index, part in enumerate(parts):
            heights = [bar.get(part, 0) for bar in stacks.values()]
            axes.bar(list(stacks), heights, 0.7, list(bottom.values()), color=_INK, alpha=shade(index))
            bottom = {name: bottom[name] + height for name, height in zip(stacks, heights, strict=True)}
        for position, total in enumerate(bottom.values()):
            axes.annotate(f"{total:,}", (position, total), (0, 2), textcoords="offset points", ha="center")
        axes.margins(y=0.12)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=4, integer=True))
        return _svg(figure, key)


def shade(index: int) -> float:
    """Opacity of the index-th part of a stack."""
    return (0.75, 0.45, 0.22, 0.12)[index % 4]


def _hex(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]


def _canvas() -> tuple[Figure, Axes]:
    figure = Figure(figsize=(3.6, 2.1), layout="constrained")
    return figure, figure.add_subplot()


def _svg(figure: Figure, key: str) -> Markup:
    buffer = io.StringIO()
    figure.patch.set_visible(False)
    for axes in figure.axes:
        axes.patch.set_visible(False)
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'^<svg [^>]*(viewBox="[^"]*")[^>]*>', r'<svg \1 aria-hidden="true">', text, flags=re.DOTALL)
    # Identifiers must be unique on a page that holds many plots.
    text = re.sub(r'( id="|xlink:href="#|url\(#)', rf"\g<1>{key}-", text)
    for fixed, variable in _VARIABLES.items():
        text = text.replace(fixed, variable)
    return Markup(re.sub(r"font: [^;\"]*?([\d.]+px)[^;\"]*", r"font-size: \1", text))
