"""Training curves from the files that verl's `file` logger writes: lines of {"step": int, "data": {metric: number}}."""

import json
import math
import re
from pathlib import Path

Curve = list[tuple[int, float]]
"""Points of one metric, by rising step."""


def read_metrics(stage_dir: Path) -> dict[str, Curve]:
    """Every metric of a stage. A resumed run leaves several files; at a step that two hold, the later file counts.

    Files are read in name order with numbers as numbers (`metrics`, `metrics.2`, `metrics.10`). Lines that a killed
    writer tore and values that are not finite are left out; a stage without files has no metrics.
    """
    merged: dict[str, dict[int, float]] = {}
    for path in sorted(stage_dir.glob("metrics*.jsonl"), key=_natural):
        for line in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            for name, step, value in _points(line):
                merged.setdefault(name, {})[step] = value
    return {name: sorted(points.items()) for name, points in merged.items()}


def smooth(curve: Curve, window: int) -> Curve:
    """Centred moving average over `window` points, narrower towards the ends, so that a straight line stays as it is.

    >>> smooth([(1, 0.0), (2, 3.0), (3, 9.0), (4, 9.0)], 3)
    [(1, 0.0), (2, 4.0), (3, 7.0), (4, 9.0)]
    """
    values = [value for _, value in curve]
    halves = [min(window // 2, i, len(values) - 1 - i) for i in range(len(values))]
    spans = [values[i - half : i + half + 1] for i, half in enumerate(halves)]
    return [(step, sum(span) / len(span)) for (step, _), span in zip(curve, spans, strict=True)]


def _natural(path: Path) -> list[tuple[bool, int, str]]:
    parts = re.split(r"(\d+)", path.stem)
    return [(part.isdecimal(), int(part) if part.isdecimal() else 0, part) for part in parts]


def _points(line: str) -> list[tuple[str, int, float]]:
    try:
        row = json.loads(line)
        step, data = int(row["step"]), dict(row["data"])
    except (ValueError, KeyError, TypeError):
        return []
    numbers = {name: value for name, value in data.items() if type(value) in (int, float)}
    return [(name, step, float(value)) for name, value in numbers.items() if math.isfinite(value)]
