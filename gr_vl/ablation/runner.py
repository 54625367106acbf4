"""Run the cells of a plan one after another, each stage once, and go on where a killed run stopped.

`run_cell` is all that one cell needs: whoever wants cells side by side starts it elsewhere.
"""

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from rich.console import Console
from rich.table import Table

from gr_vl import display, launch
from gr_vl.ablation.plan import Cell
from gr_vl.compose import Stage
from gr_vl.data.build.files import replace_text
from gr_vl.errors import ConfigError

RECORD = "cell.json"
"""What a cell was begun as."""


def run(cells: Sequence[Cell], console: Console, finished: Callable[[], Any]) -> None:
    """Run what is missing; `finished` is called after every cell that was not done, and after the last.

    Raises ConfigError before anything is run when a cell on disk was begun with other settings, StageError when a
    stage fails.
    """
    verify(cells)
    for stage in {stage.folder: stage for cell in cells for stage in cell.stages if not _is_there(stage)}.values():
        launch.check_machine(stage)
    for number, cell in enumerate(cells, start=1):
        missing = [stage.name for stage in cell.stages if not _is_there(stage)]
        what = f"{', '.join(missing)} to run{_time_left(cells[number - 1 :])}" if missing else "done before"
        console.print(f"cell {number} of {len(cells)}  {cell.variant}, seed {cell.seed}: {what}")
        run_cell(cell, console)
        if missing or number == len(cells):
            finished()


def show(cells: Sequence[Cell], console: Console) -> None:
    """Say of every cell what is done, what it takes from elsewhere and what is to run."""
    table = Table("cell", "done", "to run", "shared with", title="plan", title_justify="left")
    for cell in cells:
        done = [stage.name for stage in cell.stages if _is_there(stage)]
        missing = [stage.name for stage in cell.stages if not _is_there(stage)]
        others = {stage.run.name: None for stage in cell.stages if stage.run != cell.folder}
        table.add_row(cell.name, *(" ".join(names) or "-" for names in (done, missing, others)))
    console.print(table)
    folders = {stage.folder for cell in cells for stage in cell.stages}
    console.print(f"{len(cells)} cells, {len(folders)} stages in all{_time_left(cells)}")


def run_cell(cell: Cell, console: Console) -> None:
    """Run the stages of a cell that are not done, in order, each in its place."""
    record = {"variant": cell.variant, "seed": cell.seed, "digests": dict(cell.digests)}
    replace_text(cell.folder / RECORD, json.dumps(record, indent=2))
    for stage in cell.stages:
        if not _is_there(stage):
            display.follow(stage.name, launch.launch(stage), console)
        _link(stage.folder, cell.folder / stage.name)
    _link(cell.stages[-1].run / "run.json", cell.folder / "run.json")


def is_done(cell: Cell) -> bool:
    """Whether every stage of a cell is done and in its place."""
    return (cell.folder / RECORD).is_file() and all(
        (cell.folder / stage.name / "stage.json").is_file() for stage in cell.stages
    )


def verify(cells: Sequence[Cell]) -> None:
    """Refuse a plan that would mix settings: ConfigError that names the cell, what differs and the fix."""
    seen: set[Path] = set()
    for cell in cells:
        for stage in cell.stages:
            if stage.folder not in seen:
                seen.add(stage.folder)
                _verify_stage(cell, stage)
        path = cell.folder / RECORD
        before = json.loads(path.read_text())["digests"] if path.is_file() else cell.digests
        changed = [name for name in {**before, **cell.digests} if before.get(name) != cell.digests.get(name)]
        if changed:
            raise ConfigError(
                f"cell {cell.name}: {cell.folder} was begun with another definition of {', '.join(changed)}; "
                f"remove that folder or choose another run=DIR"
            )


def _verify_stage(cell: Cell, stage: Stage) -> None:
    if stage.folder.is_symlink():
        raise ConfigError(
            f"cell {cell.name}: {stage.folder} belongs to {stage.folder.resolve().parent.name} by an earlier "
            f"definition; remove {stage.run} or choose another run=DIR"
        )
    if found := launch.changed(stage):
        raise ConfigError(f"cell {cell.name}: {found}; remove {stage.run} or choose another run=DIR")


def _is_there(stage: Stage) -> bool:
    return (stage.folder / "stage.json").is_file()


def _link(target: Path, link: Path) -> None:
    """Make `link` a relative link to `target`, so that a grid's folder can be moved; nothing where it is the target."""
    if not link.exists():
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, link.parent))


def _time_left(cells: Sequence[Cell]) -> str:
    """What the stages that are still to run took elsewhere in the grid."""
    stages = {stage.folder: stage for cell in cells for stage in cell.stages}.values()
    missing = [stage for stage in stages if not _is_there(stage)]
    root = cells[0].folder.parent
    known: dict[str, float] = {}
    for name in {stage.name for stage in missing}:
        records = [json.loads(path.read_text()) for path in root.glob(f"*/{name}/stage.json")]
        if not records:
            return ""
        known[name] = mean(record["seconds"] for record in records)
    return f", about {max(1, round(sum(known[stage.name] for stage in missing) / 60))} min left"
