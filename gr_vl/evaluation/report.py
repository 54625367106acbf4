"""One page for a person and one file for a program: `report.html` and `summary.json` of a run folder.

The page is a single static file that works offline and for ever: styles, plots and images are inside it, and it runs
no script. Everything that a user or a model wrote is escaped.
"""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jinja2

from gr_vl import stages
from gr_vl.data.build.files import replace_text
from gr_vl.evaluation import plots, transcripts
from gr_vl.evaluation.against import against
from gr_vl.evaluation.curves import Curve, read_metrics
from gr_vl.evaluation.details import details
from gr_vl.evaluation.metrics import Evaluation
from gr_vl.evaluation.run_folder import (
    RunFolder,
    corpus_of,
    images_of,
    model_name,
)
from gr_vl.schema import Modality, Task
from gr_vl.specs import read_object
from gr_vl.tasks import ordered


def write_report(folder: RunFolder, other: RunFolder | None = None) -> Path:
    """Build `report.html` in a run folder, from whatever is there.

    With another run of the same samples, `against_NAME.html` instead: the same page, and what differs between the two.
    Raises DataError when the samples differ.
    """
    compared = None if other is None else against(folder, other)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("gr_vl.evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "points": points, "duration": duration, "model": model_name}
    environment.filters |= {"p_value": p_value}
    environment.globals |= {
        "colour": partial(plots.colour, folder.colours),
        "shade": plots.shade,
        "palette": plots.PALETTE,
    }
    page = environment.get_template("report.html.j2").render(_context(folder) | {"against": compared})
    name = "report.html" if other is None else f"against_{other.path.resolve().name}.html"
    return replace_text(folder.path / name, page)


def write_summary(folder: RunFolder) -> Path:
    """Write `summary.json` in a run folder."""
    return replace_text(folder.path / "summary.json", json.dumps(folder.summary(), indent=2) + "\n")


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage without its sign; a dash when it is unknown.

    >>> percent(0.79069)
    '79.1'
    """
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """A difference of fractions in percentage points, with its sign; a dash when it is unknown."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def p_value(value: float) -> str:
    """A probability with three decimals.

    >>> p_value(0.0312), p_value(0.00004)
    ('0.031', '< 0.001')
    """
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(48.25), duration(754), duration(7380)
    ('48.2 s', '12 min 34 s', '2 h 03 min')
    """
    if round(seconds, 1) < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _context(folder: RunFolder) -> dict[str, Any]:
    counts = {
        name: folder.stages.get(stage, {}).get("counts", {}).get(key) for name, (stage, key) in folder.corpora.items()
    }
    corpora = {name: found for name, found in counts.items() if found}
    notes = list(folder.notes)
    wanted = [name for name, (stage, _) in folder.corpora.items() if stage in folder.expected]
    if absent := [name for name in wanted if name not in corpora]:
        notes.append(f"Corpora not there: {', '.join(absent)}.")
    panels = _panels(folder)
    kinds = [folder.kinds[name] for name in folder.expected if name in folder.kinds]
    trained = dict.fromkeys(kind.title for kind in kinds if kind.trains)
    if absent := [name for name in trained if name not in panels]:
        notes.append(f"No training metrics of: {', '.join(absent)}.")
    tasks = _tasks(folder)
    return {
        "run": folder,
        "notes": notes,
        "tables": {split: _rows(models) for split, models in folder.evaluations.items()},
        "evaluations": next(iter(folder.evaluations.values()), {}),
        "split": next(iter(folder.evaluations), None),
        "tasks": tasks,
        "positive": dict.fromkeys(one for task in tasks for one in reversed(task.labels) if one in task.positives),
        "modalities": tuple(Modality),
        "details": details(folder),
        "panels": panels,
        "corpora": corpora,
        "mining": _mining(folder.path),
        "groups": _transcripts(folder),
    }


def _tasks(folder: RunFolder) -> tuple[Task, ...]:
    """The tasks that any sample was judged on; those of the guard before there are scores."""
    found = [task for models in folder.evaluations.values() for result in models.values() for task in result.tasks]
    return ordered(found or (folder.guard.tasks if folder.guard else ()))


def _rows(models: Mapping[str, Evaluation]) -> dict[str, dict[str, Any]]:
    base = models["sft"].mean_f1 if "sft" in models else None
    rows: dict[str, dict[str, Any]] = {}
    for model, result in models.items():
        gain = None if model == "sft" or base is None or result.mean_f1 is None else result.mean_f1 - base
        rows[model] = {"result": result, "gain": gain}
    return rows


def _panels(folder: RunFolder) -> dict[str, dict[str, Any]]:
    panels: dict[str, dict[str, Any]] = {}
    for kind in dict.fromkeys(kind.name for kind in folder.kinds.values() if kind.trains):
        wanted = stages.get(kind)
        metrics = {name: read_metrics(folder.path / name) for name in folder.kinds if folder.kinds[name] is wanted}
        drawn = {
            title: plots.line_plot(curves, f"{wanted.title}{index}", folder.colours)
            for index, (title, keys) in enumerate(wanted.panels.items())
            if (curves := _curves(metrics, keys))
        }
        if drawn:
            panels[wanted.title] = {"plots": drawn, "stages": [name for name in metrics if metrics[name]]}
    return panels


def _curves(metrics: Mapping[str, Mapping[str, Curve]], keys: tuple[str, ...]) -> dict[str, Curve]:
    found = {stage: next((curves[key] for key in keys if key in curves), []) for stage, curves in metrics.items()}
    return {stage: curve for stage, curve in found.items() if curve}


def _mining(run: Path) -> dict[str, Any] | None:
    found = read_object(run / "mine" / "difficulty.json")
    if not found.get("histogram"):
        return None
    parts = found.get("by_modality") or {"all": found["histogram"]}
    bars = sorted(found["histogram"], key=int)
    stacks = {bar: {name: int(counts.get(bar, 0)) for name, counts in parts.items()} for bar in bars}
    return {"k": found.get("k", bars[-1]), "plot": plots.bar_plot(stacks, "mining"), "parts": list(parts)}


def _transcripts(folder: RunFolder) -> list[dict[str, Any]]:
    if not folder.judged:
        return []
    split, models = next(iter(folder.judged.items()))
    groups = transcripts.choose(models, folder.models)
    chosen = {sample for group in groups for sample in group.samples}
    images = images_of(corpus_of(folder.path, split), chosen)
    return [
        {"title": group.title, "samples": [transcripts.view(row, images[id]) for id, row in group.samples.items()]}
        for group in groups
    ]
