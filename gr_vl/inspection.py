"""`gr-vl check`: what a recipe amounts to, before anything is loaded."""

from dataclasses import replace
from functools import partial
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from gr_vl import checks, compose, dialects, display, stages
from gr_vl.clipping import STILL, ClipSchedule
from gr_vl.schema import Sample
from rewards import SafetyReward

MOST = 0.5
"""A run of which more than this share stands still is warned about."""
PLAIN_STEPS = 23
"""Steps that a curve is drawn for when the number of samples is not known yet: 12,000 samples by 512 (paper)."""


def show(recipe: str, overrides: list[str], console: Console) -> None:
    """Compose and check every stage of every model, and print what was found. Raises the first error."""
    named = [item.split("=", 1)[1] for item in overrides if item.startswith("model=")]
    others = [item for item in overrides if not item.startswith("model=")]
    for model in named or compose.models(recipe, "pipeline"):
        table = Table("stage", "what it amounts to", title=f"{recipe}, model={model}", title_justify="left")
        schedules, rows = [], None
        names = compose.pipeline(recipe, [f"model={model}"])
        for name, items in compose.by_stage(names, [*others, f"model={model}"]).items():
            stage = compose.stage(recipe, name, items)
            facts = checks.check(stage, files=False)
            rows = stages.get(stage.kind).rows_after(stage.config, rows)
            if "steps" in facts and rows:
                facts["steps"] = _steps(stage.config, rows)
            if "clip" in facts:
                schedules.append(
                    (name, facts["clip"], int(str(facts["steps"] or PLAIN_STEPS).split()[0]), facts["reward"])
                )
            table.add_row(name, ", ".join(f"{k}: {v}" for k, v in facts.items() if k not in ("clip", "reward")))
        console.print(table)
        for name, clip, steps, reward in schedules:
            show_clip(name, clip, steps, console)
            _show_reward(name, reward, stage.config.gr_vl.dialect, console)


def _steps(config: DictConfig, rows: int) -> str:
    trainer, batch = config.trainer, config.data.train_batch_size
    found = rows // batch * trainer.total_epochs
    steps = min(found, trainer.total_training_steps or found)
    # An epoch has a step less for the first batch that rows over the limit leave incomplete.
    spare = rows - -(-steps // trainer.total_epochs) * batch
    return f"{steps} of {rows} rows (fewer once more than {spare} of them do not fit)"


def show_clip(name: str, clip: ClipSchedule, steps: int, console: Console) -> None:
    """Draw the curve of a stage, and warn when most of its steps would hardly move the model."""
    curve, share = clip.curve(steps), clip.still(steps)
    bars = "▁▂▃▄▅▆▇█"
    points = [curve[round(i * (steps - 1) / 39)] for i in range(40)] if steps > 1 else curve
    line = "".join(bars[min(int(value / clip.epsilon * len(bars)), len(bars) - 1)] for value in points)
    text = f"{name}: clip {clip.kind} {line} {curve[0]:.3f} to {curve[-1]:.3g} in {steps} steps"
    if clip.epsilon_high is not None:
        text += f", upwards {clip.epsilon_high / clip.epsilon:.3g} times as far"
    console.print(f"{text}; {share:.0%} of them under {STILL}")
    if share > MOST:
        display.say(console, "warning", "yellow", f" {name}: {_advice(clip, steps)}")


def _advice(clip: ClipSchedule, steps: int) -> str:
    """What to do about a run of which most would stand still."""
    still = f"gr_vl.clip.kind={clip.kind} leaves {clip.still(steps):.0%} of {steps} steps nearly still"
    even = ClipSchedule("linear", clip.epsilon, clip.final, clip.epsilon_high).still(steps)
    if clip.kind != "linear" and even <= MOST:
        return f"{still}; gr_vl.clip.kind=linear leaves {even:.0%}"
    return f"{still}; raise gr_vl.clip.epsilon={clip.epsilon:g}, the paper's is 0.2"


def _show_reward(name: str, settings: dict[str, Any], dialect: str, console: Console) -> None:
    """From all right to none right in one group, with 25 tokens of result and four characters a token."""
    reward, grammar = SafetyReward.from_config(settings, dialect), dialects.get(dialect)
    question, tasks = grammar.questions(Sample("", "", "a", "b", reasoning="."))[-1]
    labels = {task: task.worst for task in tasks}
    said = [labels | {task: task.mildest for task in tasks[right:]} for right in range(len(tasks), -1, -1)]
    texts = [grammar.target(replace(question, reasoning=".", labels=each)) for each in said]
    columns = []
    for tokens in (reward.budget // 16, reward.budget // 2, reward.budget):
        read = partial(reward.read, labels=labels, reasoning_tokens=tokens, output_tokens=tokens + 25)
        columns.append(reward.score_group([read(text, characters=4 * (tokens + 25)) for text in texts]))
    table = Table("answer", "short", "half the budget", "the budget", title=f"{name}: reward", title_justify="left")
    for row in zip(*columns, strict=True):
        right = sum(row[0].correct.values())
        table.add_row(f"{right} of {len(tasks)} right", *(f"{got.total:.3g}" for got in row))
    console.print(table)
