"""`gr-vl reward explain` and `gr-vl reward replay`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from gr_vl import dialects, display, specs
from gr_vl.errors import ConfigError, DataError

app = typer.Typer(no_args_is_help=True, help="Explain a reward, or replay saved rollouts through several.")

Grammar = Annotated[
    str | None, typer.Option("--dialect", help="The grammar of the answers; else what the run around the file says.")
]
Budget = Annotated[int | None, typer.Option(help="Reasoning tokens that count as l = 1; else the reward's, or 512.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_REWARD = "A preset, or a YAML file that holds what stands below gr_vl.reward in a recipe."


@app.command(
    epilog="""Examples: gr-vl reward explain runs/demo/rl/rollouts/3.jsonl --line 7 --reward eco --budget 96

    gr-vl reward explain '{"output": "...", "gts": {"prompt": "harmful"}, "reasoning_tokens": 80}'
    --dialect guardreasoner_vl"""
)
def explain(
    record: Annotated[str, typer.Argument(help="A file of saved rollouts (JSONL), or one line of it as text.")],
    line: Annotated[int, typer.Option(min=1, help="Which line of the file.")] = 1,
    reward: Annotated[str, typer.Option(help=_REWARD)] = "paper",
    budget: Budget = None,
    dialect: Grammar = None,
    as_json: AsJson = False,
) -> None:
    """Each term of one answer's reward with its inputs, the total, and what would change it."""
    from gr_vl.workbench import explain as explaining
    from gr_vl.workbench import rollouts

    is_text = record.lstrip().startswith("{")
    grammar = _dialect(dialect, [] if is_text else [Path(record)])
    scoring, spoken = _reward(reward, budget, grammar), dialects.get(grammar)
    if is_text:
        group, index = [rollouts.parse(record, "RECORD", spoken)], 0
    else:
        found, place = rollouts.read([Path(record)], spoken), f"{record}:{line}"
        for problem in found.unreadable:
            if problem.startswith(f"{place}:"):
                raise DataError(problem)
        group = next((group for group in found.groups if any(answer.place == place for answer in group)), [])
        index = next((i for i, answer in enumerate(group) if answer.place == place), -1)
        if index < 0:
            raise DataError(f"--line {line}: {record} has no answer there; it has {len(found.answers)} answers")
    facts = {"reward": reward, "dialect": grammar} | explaining.explain(scoring, group, index)
    typer.echo(json.dumps(facts, indent=2)) if as_json else _show_explanation(facts)


@app.command(
    epilog="Example: gr-vl reward replay runs/demo/rl/rollouts --reward paper --reward bounded --budget 96 --out a.png"
)
def replay(
    files: Annotated[list[Path], typer.Argument(help="Files of saved rollouts (JSONL), or folders of them.")],
    reward: Annotated[list[str], typer.Option(help=f"{_REWARD} Repeat to compare.")],
    budget: Budget = None,
    dialect: Grammar = None,
    out: Annotated[Path | None, typer.Option(help="Write histograms here: .png, .svg or .pdf.")] = None,
    as_json: AsJson = False,
) -> None:
    """Score saved rollouts with any rewards: distribution, agreement within groups, parse failures."""
    from gr_vl.workbench import replay as replaying
    from gr_vl.workbench import rollouts

    grammar = _dialect(dialect, files)
    rewards = {name: _reward(name, budget, grammar) for name in reward}
    if out is not None and out.suffix not in (".png", ".svg", ".pdf"):
        raise ConfigError(f"--out {out} must end in .png, .svg or .pdf")
    read = rollouts.read(files, dialects.get(grammar))
    found = replaying.replay(read, rewards)
    if out is not None:
        replaying.plot(found, out)
    if as_json:
        typer.echo(
            json.dumps({"dialect": grammar} | found.summary | {"first unreadable": read.unreadable[:5]}, indent=2)
        )
    else:
        _show_replay(grammar, found.summary, read.unreadable)


def _dialect(given: str | None, files: Sequence[Path]) -> str:
    """The grammar that answers are read by. ConfigError when nothing names it, or when runs differ in it."""
    if given is not None:
        return given
    found = {spec.dialect: file for file in files if (spec := specs.above(file)) is not None}
    if len(found) > 1:
        places = ", ".join(f"{file}: {name}" for name, file in found.items())
        raise ConfigError(f"--dialect: not given, and these runs differ in it ({places}); replay each by itself")
    return specs.needed(next(iter(found), None), ", ".join(map(str, files)) or "RECORD")


def _reward(name: str, budget: int | None, dialect: str) -> Any:
    from omegaconf import OmegaConf

    from rewards import SafetyReward, preset_names

    spec: Any = {"preset": name}
    if Path(name).suffix in (".yaml", ".yml") or (name not in preset_names() and Path(name).exists()):
        try:
            spec = OmegaConf.to_container(OmegaConf.load(name))
        except Exception as error:
            raise ConfigError(f"--reward {name}: {' '.join(str(error).split())}; name a readable YAML file") from None
    elif name not in preset_names():
        raise ConfigError(f"--reward {name} is unknown; use one of: {', '.join(preset_names())}, or a .yaml file")
    if not isinstance(spec, Mapping):
        raise ConfigError(f"--reward {name}: no block of settings; write what stands below gr_vl.reward in a recipe")
    return SafetyReward.from_config({**spec, **({} if budget is None else {"budget": budget})}, dialect)


def _table(title: str, *columns: str) -> Table:
    return Table(*columns, title=title, title_justify="left")


def _show_explanation(facts: Mapping[str, Any]) -> None:
    console = display.console()
    console.print(f"{facts['place']}, {facts['answers in the group']} in its group, reward {facts['reward']}")
    console.print(f"dialect {facts['dialect']}")
    for name, value in facts["inputs"].items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) or "nothing" if isinstance(value, dict) else value
        console.print(f"  {name:<21} {shown:.4g}" if isinstance(shown, float) else f"  {name:<21} {shown}")
    table = _table("terms", "term", "weight x what it is", "adds")
    for term in facts["terms"]:
        table.add_row(term["term"], term["is"], f"{term['adds']:.4g}")
    console.print(table)
    low, high = ("none" if bound is None else f"{bound:g}" for bound in facts["clamp"])
    console.print(f"total {facts['total']:.4g} (scale {facts['scale']:g}, lower bound {low}, upper bound {high})")
    for words, gain in facts["changes"].items():
        console.print(f"  {words}: {gain:+.3g}")


def _show_replay(dialect: str, summary: Mapping[str, Any], unreadable: list[str]) -> None:
    console = display.console()
    console.print(f"dialect {dialect}")
    counts = ("answers", "groups", "unreadable lines", "answers with estimated lengths")
    console.print(", ".join(f"{summary[name]} {name}" for name in counts))
    for problem in unreadable[:5]:
        console.print(f"  {problem}")
    failures = ", ".join(f"{reason} {count}" for reason, count in summary["parse failures"].items())
    console.print(f"parse failures: {failures or 'none'}")
    names = list(next(iter(summary["rewards"].values())))
    table = _table("rewards", "reward", *names)
    for reward, numbers in summary["rewards"].items():
        table.add_row(
            reward, *(f"{number:.0%}" if "groups" in name else f"{number:.3g}" for name, number in numbers.items())
        )
    console.print(table)
    pairs = _table("pairs", "reward", "other", "rank correlation within groups", "groups compared", "groups flipped")
    for pair in summary["pairs"]:
        rank = "none" if pair["rank correlation"] is None else f"{pair['rank correlation']:.3f}"
        pairs.add_row(pair["a"], pair["b"], rank, str(pair["groups compared"]), f"{pair['groups flipped']:.0%}")
    if summary["pairs"]:
        console.print(pairs)
