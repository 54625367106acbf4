"""An ablation in Markdown: mean and spread over seeds, differences with intervals, and what they do not say."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gr_vl.evaluation.compare import task_columns

Metrics = Mapping[str, Any]
# Title, factor and digits of every column.
_COLUMNS = {
    "mean_f1": ("mean F1", 100, 1),
    "accuracy": ("accuracy", 100, 1),
    "mean_output_tokens": ("tokens", 1, 1),
    "parse_failure_rate": ("unparsable", 100, 1),
}


def columns(scores: Iterable[Metrics]) -> list[str]:
    """The metrics that a table of these scores shows: the tasks' follow their mean."""
    first, *rest = _COLUMNS
    return [first, *task_columns(scores), *rest]


def _column(name: str) -> tuple[str, int, int]:
    return _COLUMNS.get(name) or (task_columns([{name: None}])[name], 100, 1)


def markdown(found: Mapping[str, Any]) -> str:
    """The tables of `ablation.json`."""
    variants, reference = found["variants"], found["reference"]
    titles = [_column(name)[0] for name in variants[reference]["spread"]]
    scores = [[name, *_cells(variant["spread"], _spread)] for name, variant in variants.items()]
    others = {name: variant for name, variant in variants.items() if name != reference}
    differences = [[name, *_cells(variant["difference"], _difference)] for name, variant in others.items()]
    seeds = [str(seed) for seed in found["seeds"]]
    within = [[name, *(_bootstrap(variant, found, seed) for seed in seeds)] for name, variant in others.items()]
    parts = [
        f"# Ablation {found['name']}",
        _about(found),
        _table(["variant, mean ± sd over seeds", *titles], scores),
        _table([f"against {reference}, 95% over seeds", *titles], differences),
        _table(["mean F1, 95% over samples", *(f"seed {seed}" for seed in seeds)], within),
        _caution(found),
        "![Mean F1, its difference to the reference, and tokens](ablation.png)",
    ]
    return "\n\n".join(parts) + "\n"


def _about(found: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{count:,}" for count in found["samples"]) or "no"
    seeds = ", ".join(map(str, found["seeds"]))
    text = f"Recipe {found['recipe']}, model `{found['model']}`, seeds {seeds}, split {found['split'] or 'none'}"
    text += f" with n = {counts} samples a seed, greedy answers; F1 and unparsable answers in percent."
    text += f" Only samples from {', '.join(found['sources'])}." if found["sources"] else ""
    text += f" **Not finished:** {', '.join(found['missing'])}." if found["missing"] else ""
    settings = {"all": found["overrides"]} | {name: v["overrides"] for name, v in found["variants"].items()}
    lines = [f"- {name}: `{' '.join(items)}`" if items else f"- {name}: nothing" for name, items in settings.items()]
    return "\n".join([text, "", "What each changes:", "", *lines])


def _caution(found: Mapping[str, Any]) -> str:
    number = len(found["seeds"])
    return (
        f"Intervals over seeds are Student's t of paired differences, here over {number} seed{'s' * (number != 1)}. "
        "Over 3 they are wide: 4.3 standard errors each way. One that holds 0 does not tell the two apart. "
        "n/a: fewer than two seeds. "
        "Intervals over samples are a paired bootstrap of the two models of one seed as they are; they leave out how "
        "much training itself varies."
    )


def _cells(metrics: Metrics, show: Callable[[Mapping[str, Any], int, int], str]) -> list[str]:
    return ["-" if value is None else show(value, *_column(name)[1:]) for name, value in metrics.items()]


def _spread(value: Mapping[str, Any], factor: int, digits: int) -> str:
    sd = "" if value["sd"] is None else f" ± {factor * value['sd']:.{digits}f}"
    return f"{factor * value['mean']:.{digits}f}{sd}"


def _difference(value: Mapping[str, Any], factor: int, digits: int) -> str:
    if value["low"] is None:
        return f"{factor * value['mean']:+.{digits}f} [n/a]"
    low, middle, high = (f"{factor * value[key]:+.{digits}f}" for key in ("low", "mean", "high"))
    return f"{middle} [{low}, {high}]"


def _bootstrap(variant: Mapping[str, Any], found: Mapping[str, Any], seed: str) -> str:
    interval = variant["bootstrap_mean_f1"].get(seed)
    if interval is None:
        return "-"
    value = variant["cells"][seed]["mean_f1"] - found["variants"][found["reference"]]["cells"][seed]["mean_f1"]
    return f"{100 * value:+.1f} [{100 * interval[0]:+.1f}, {100 * interval[1]:+.1f}]"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])
