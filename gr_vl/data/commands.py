"""`gr-vl data RECIPE`, `gr-vl data reason`, and the commands about public sources."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from gr_vl import display, extras, specs
from gr_vl.data import source_commands
from gr_vl.data.build import commands as build_commands
from gr_vl.errors import ConfigError

STAGE = "RECIPE"
"""The command behind `gr-vl data`, named as its help shows it: whatever is no other command is a recipe."""


class _Group(TyperGroup):
    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        return super().resolve_command(ctx, args if args[0] in self.commands else [STAGE, *args])


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    help="Build a recipe's corpus, look at public ones, or have a teacher write the reasoning of one.",
    epilog="Example: gr-vl data guardreasoner_vl model=tiny run=runs/mine seed=2",
)

source_commands.add_to(app)
app.command(epilog="Example: gr-vl data build guardreasoner_vl data/guardreasoner_vl_train --folder downloads")(
    build_commands.build
)
app.command(
    epilog="Example: gr-vl data validate data/train.parquet --tokenizer Qwen/model-folder --dialect guardreasoner_vl"
)(build_commands.validate)

Price = Annotated[float | None, typer.Option(help="US dollars per million tokens.")]


@app.command(
    epilog="""Examples: gr-vl data reason train.parquet taught.parquet --model gpt-4o-2024-08-06
    --dialect guardreasoner_vl --price-in 2.5 --price-out 10 --budget-usd 300

    gr-vl data reason train.parquet taught.parquet --model NAME --base-url http://localhost:8000/v1 --estimate"""
)
def reason(
    source: Annotated[Path, typer.Argument(metavar="IN.parquet", help="A corpus with labels.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="That corpus with reasoning.")],
    model: Annotated[str, typer.Option(help="The teacher, as the endpoint calls it.")],
    dialect: Annotated[
        str | None, typer.Option(help="The guard's grammar; else that of the run or the build around IN.parquet.")
    ] = None,
    base_url: Annotated[str, typer.Option(help="An OpenAI-compatible endpoint.")] = "https://api.openai.com/v1",
    api_key_env: Annotated[str, typer.Option(help="Environment variable that holds the key.")] = "OPENAI_API_KEY",
    concurrency: Annotated[int, typer.Option(help="Calls in flight at most.")] = 8,
    max_tokens: Annotated[int, typer.Option(help="Tokens of a reply at most.")] = 3584,
    attempts: Annotated[int, typer.Option(help="Replies that a sample may get before it is quarantined.")] = 3,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for a reply.")] = 300.0,
    budget_tokens: Annotated[int | None, typer.Option(help="Tokens, in and out, that no run of OUT passes.")] = None,
    budget_usd: Annotated[float | None, typer.Option(help="US dollars that no run of OUT passes.")] = None,
    price_in: Price = None,
    price_out: Price = None,
    only_estimate: Annotated[bool, typer.Option("--estimate", help="Say what it may cost, and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask after the estimate.")] = False,
) -> None:
    """Have a teacher write the reasoning of labelled samples, images included. Run again to go on after a kill."""
    from gr_vl.teacher.settings import Settings

    dialect = specs.find(source, dialect)
    given = {name: value for name, value in locals().items() if name in Settings.__dataclass_fields__}
    settings = Settings(**given)
    if not only_estimate:
        extras.need("gr-vl data reason", "openai", "httpx2", "tenacity", extra="data")
        settings.api_key()
        if not yes and not sys.stdin.isatty():
            raise ConfigError("--yes: there is no terminal to ask on; add it, or --estimate to see the costs alone")
    from gr_vl.teacher import process

    console = display.console()
    for line in process.described(process.estimate(settings), settings):
        console.print(line)
    if only_estimate or not (yes or typer.confirm("Begin?")):
        return
    display.follow("reason", process.states(settings), console)
    for line in process.results(settings):
        console.print(line)
