"""The command line: `gr-vl STAGE RECIPE key=value ...`. Nothing here imports torch, Ray or verl."""

import gc
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console

from gr_vl import compose, display, launch, stages
from gr_vl.cluster import commands as cluster_commands
from gr_vl.data import commands as data_commands
from gr_vl.errors import GuardError, Preempted, StageError
from gr_vl.evaluation import commands as evaluation_commands
from gr_vl.guard import commands as guard_commands
from gr_vl.workbench.commands import app as reward_commands

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    help="Train multimodal safety guards that reason before they judge.",
    epilog="Example: gr-vl pipeline guardreasoner_vl model=tiny run=runs/demo",
)

Recipe = Annotated[str, typer.Argument(help="A folder below recipes/, by name or by path.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...",
        help="model=, run=, seed= and config= for short; any other key of the composed configuration.",
    ),
]


def _run(stage: compose.Stage, console: Console) -> None:
    if launch.is_done(stage):
        display.say(console, "kept", "dim", f"  {stage.name:<8} {stage.folder} (done before)")
    else:
        display.follow(stage.name, launch.launch(stage), console)


def _stage_command(kind: str, summary: str) -> None:
    example = f"Example: gr-vl {kind} guardreasoner_vl model=tiny run=runs/mine seed=2"

    group, name = (data_commands.app, data_commands.STAGE) if kind == "data" else (app, kind)

    @group.command(name, help=summary, epilog=example)
    def command(recipe: Recipe, overrides: Overrides = None) -> None:
        _run_one(recipe, kind, overrides or [])


def _run_one(recipe: str, kind: str, overrides: list[str]) -> None:
    _run(compose.stage_of_kind(recipe, kind, overrides), display.console())


app.add_typer(data_commands.app, name="data")
for _kind in stages.kinds().values():
    if _kind.name != "eval":  # whose command scores more than a recipe's models
        _stage_command(_kind.name, _kind.help)
evaluation_commands.register(app, _run_one)


@app.command(
    epilog="Example: gr-vl pipeline guardreasoner_vl model=tiny run=runs/demo rl:trainer.total_training_steps=4"
)
def pipeline(recipe: Recipe, overrides: Overrides = None) -> None:
    """Every stage of a recipe in order, then the report. STAGE:KEY=VALUE overrides one stage alone."""
    console, stages = display.console(), _pipeline(recipe, overrides or [])
    # All of them now: what the last stage needs should not be missed after the first has run for hours.
    for stage in stages:
        launch.check_machine(stage)
    for stage in stages:
        _run(stage, console)
    _report(stages[0].run, console)


def _pipeline(recipe: str, overrides: list[str]) -> list[compose.Stage]:
    own = compose.by_stage(compose.pipeline(recipe, overrides), overrides)
    return [compose.stage(recipe, name, items) for name, items in own.items()]


@app.command(epilog="Examples: gr-vl report runs/demo; gr-vl report runs/new runs/old")
def report(
    run: Annotated[Path, typer.Argument(help="The folder of a run.")],
    other: Annotated[Path | None, typer.Argument(help="Another run of the same samples, to compare with.")] = None,
) -> None:
    """Write report.html and summary.json of a run, whatever stages it has so far; of two, what differs."""
    for folder in filter(None, (run, other)):
        if not (folder / "run.json").is_file():
            raise GuardError(f"{folder}: no run there (run.json is missing); name the run= folder of a pipeline")
    _report(run, display.console(), other)


def _report(run: Path, console: Console, other: Path | None = None) -> None:
    from gr_vl.evaluation.report import write_report, write_summary
    from gr_vl.evaluation.run_folder import load

    folder = load(run)
    summary = write_summary(folder)
    page = write_report(folder, None if other is None else load(other))
    display.say(console, "done", "green", f"  report   {page}  {summary}")


@app.command(epilog="Example: gr-vl compare runs/seed1 runs/seed2 runs/seed3")
def compare(runs: Annotated[list[Path], typer.Argument(help="Folders of finished runs.")]) -> None:
    """Scores of several runs and what RL and Eco changed, as Markdown with mean and spread."""
    from gr_vl.evaluation.compare import markdown

    typer.echo(markdown(runs))


@app.command(epilog="Example: gr-vl ablate clip run=runs/clip")
def ablate(
    grid: Annotated[str, typer.Argument(help="A file of recipes/ablations/, by name or by path.")],
    overrides: Overrides = None,
    dry: Annotated[bool, typer.Option("--plan", help="Check every cell, say what would run, and stop.")] = False,
) -> None:
    """Run a grid of variants times seeds, what they share once, and compare them. Run again to go on."""
    from gr_vl.ablation import command

    command.ablate(grid, overrides or [], display.console(), dry=dry)


@app.command(epilog="Example: gr-vl check guardreasoner_vl model=7b")
def check(recipe: Recipe, overrides: Overrides = None) -> None:
    """Compose and validate every stage of a recipe, for every model unless one is named."""
    from gr_vl.inspection import show

    show(recipe, overrides or [], display.console())


app.add_typer(reward_commands, name="reward")
app.command(epilog=cluster_commands.EXAMPLE)(cluster_commands.submit)
app.add_typer(cluster_commands.app, name="jobs")
guard_commands.register(app)


def main() -> None:
    """Entry point. Exit codes: 0 done; 2 the caller's mistake, in one line; 75 stopped, can go on; 1 failed."""
    # As on Ctrl-C, a stage's processes end with the command that started them.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # Composing makes very many small objects that stay; looking for garbage among them costs a tenth of the time.
    gc.set_threshold(100_000, 20, 20)
    try:
        app()
    except (GuardError, OmegaConfBaseException) as error:
        display.errors().print(f"error: {' '.join(str(error).split())}", style="red")
        sys.exit(2)
    except Preempted as stopped:
        display.errors().print(f"stopped: {stopped}")
        sys.exit(Preempted.code)
    except StageError as error:
        display.errors().print(f"failed: {error}", style="red")
        sys.exit(1)


if __name__ == "__main__":
    main()
