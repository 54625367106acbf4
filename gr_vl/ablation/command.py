"""`gr-vl ablate`: from a grid's name to its table."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from gr_vl import display
from gr_vl import overrides as written
from gr_vl.ablation import grid, plan, runner


def ablate(name: str, overrides: Sequence[str], console: Console, *, dry: bool) -> None:
    """Plan a grid below run=DIR, or runs/NAME, and run what is missing of it; `dry` stops after the plan."""
    wanted = grid.load(name)
    root, rest = Path("runs") / wanted.name, []
    for item in overrides:
        key, _, value = item.partition("=")
        if key in ("run", written.SHORT["run"]):
            root = Path(written.path(key, value))
        else:
            rest.append(item)
    cells = plan.plan(wanted, root, rest)
    if dry:
        runner.verify(cells)
        runner.show(cells, console)
        return
    # Only now: scipy and matplotlib take a second, and a mistake should not.
    from gr_vl.ablation import results

    runner.run(cells, console, lambda: results.write(wanted, cells, root))
    console.print((root / "ablation.md").read_text(), soft_wrap=True)
    display.say(console, "done", "green", f"  ablate   {root / 'ablation.md'}  {root / 'ablation.json'}")
