"""`gr-vl check`: what a recipe amounts to, before anything is loaded."""

from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table

from gr_vl import checks, compose
from gr_vl.clipping import ClipSchedule
from gr_vl.schema import Label, Task
from rewards import SafetyReward

PLAIN_STEPS = 23
"""Steps that a curve is drawn for when the number of samples is not known yet: 12,000 samples by 512 (paper)."""
STILL = 0.02
"""A clip range below this hardly lets a token's probability move."""


def show(recipe: str, overrides: list[str], console: Console) -> None:
    """Compose and check every stage of every model, and print what was found. Raises the first error."""
    named = [item.split("=", 1)[1] for item in overrides if item.startswith("model=")]
    others = [item for item in overrides if not item.startswith("model=")]
    for model in named or compose.models(recipe, "rl"):
        table = Table("stage", "what it amounts to", title=f"{recipe}, model={model}", title_justify="left")
        schedules = []
        for name in compose.pipeline(recipe, [f"model={model}"]):
            stage = compose.stage(recipe, name, [*others, f"model={model}"])
            facts = checks.check(stage, files=False)
            if "clip" in facts:
                schedules.append((name, facts["clip"], facts["steps"] or PLAIN_STEPS, facts["reward"]))
            table.add_row(name, ", ".join(f"{k}: {v}" for k, v in facts.items() if k not in ("clip", "reward")))
        console.print(table)
        for name, clip, steps, reward in schedules:
            _show_clip(name, clip, steps, console)
            _show_reward(name, reward, stage.config.gr_vl.dialect, console)


def _show_clip(name: str, clip: ClipSchedule, steps: int, console: Console) -> None:
    curve = clip.curve(steps)
    bars = "▁▂▃▄▅▆▇█"
    points = [curve[round(i * (steps - 1) / 39)] for i in range(40)] if steps > 1 else curve
    line = "".join(bars[min(int(value / clip.epsilon * len(bars)), len(bars) - 1)] for value in points)
    share = sum(value < STILL for value in curve) / steps
    text = f"{name}: clip {clip.kind} {line} {curve[0]:.3f} to {curve[-1]:.3g} in {steps} steps"
    console.print(f"{text}; {share:.0%} of them under {STILL}", highlight=False)


def _show_reward(name: str, settings: dict[str, Any], dialect: str, console: Console) -> None:
    """Three answers of one group at each length, with 25 tokens of result and four characters a token."""
    reward = SafetyReward.from_config(settings, dialect)
    labels = dict.fromkeys(Task, Label.HARMFUL)
    said = [("harmful", "harmful"), ("harmful", "unharmful"), ("unharmful", "unharmful")]
    texts = ["<think>.</think><result>Answers:\nRequest: {}\nResponse: {}</result>".format(*pair) for pair in said]
    columns = []
    for tokens in (reward.budget // 16, reward.budget // 2, reward.budget):
        read = partial(reward.read, labels=labels, reasoning_tokens=tokens, output_tokens=tokens + 25)
        columns.append(reward.score_group([read(text, characters=4 * (tokens + 25)) for text in texts]))
    table = Table("answer", "short", "half the budget", "the budget", title=f"{name}: reward", title_justify="left")
    for right, row in zip((2, 1, 0), zip(*columns, strict=True), strict=True):
        table.add_row(f"{right} of 2 right", *(f"{got.total:.3g}" for got in row))
    console.print(table)
