"""Checkpoints that are whole or do not count: a mark is written last, and every reader looks for it.

verl saves a checkpoint file by file and then names it in a pointer file. A kill in between leaves a folder that loads
in part; a torn pointer, or one that names a folder that is gone, starts the run again from step 0. Here a folder
`global_step_N` counts only with a mark, `complete.json`, that lists every file with its size. It is written after all
ranks have saved, when the files are on disk. All ranks must save to one file system.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gr_vl.errors import DataError

MARK = "complete.json"
POINTER = "latest_checkpointed_iteration.txt"
ASIDE = "incomplete"
"""Where folders that do not count are moved: a person may want to look at them."""
_FOLDER = re.compile(r"global_step_(\d+)")
_DOOMED = ".doomed"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint."""

    step: int
    folder: Path
    facts: dict[str, Any]
    """What its writer noted beside the files."""


def mark(folder: Path, step: int, **facts: Any) -> None:
    """Declare a checkpoint whole: its files are flushed to disk, then the mark appears at once or not at all."""
    files = {str(path.relative_to(folder)): path.stat().st_size for path in _files(folder)}
    for path in [*_files(folder), *(path for path in folder.rglob("*") if path.is_dir())]:
        _flush(path)
    _replace(folder / MARK, json.dumps({"step": step, "files": files, "facts": facts}, indent=1))


def damage(folder: Path) -> str | None:
    """Why a checkpoint folder does not count, in words; None if it does."""
    try:
        record = json.loads((folder / MARK).read_bytes())
        step, files, _ = record["step"], dict(record["files"]), dict(record["facts"])
    except FileNotFoundError:
        return "has no mark: its save never ended"
    except (ValueError, TypeError, KeyError):
        return f"{MARK} cannot be read"
    if folder.name != f"global_step_{step}":
        return f"{MARK} is that of step {step}"
    if not files:
        return f"{MARK} lists no files"
    for name, size in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} of {size} bytes"
    return None


def newest(root: Path) -> Checkpoint | None:
    """The whole checkpoint of the highest step, whatever the pointer says; None if there is none."""
    for folder in reversed(_folders(root)):
        if damage(folder) is None:
            return Checkpoint(_step(folder), folder, json.loads((folder / MARK).read_bytes())["facts"])
    return None


def settle(root: Path) -> Checkpoint | None:
    """Make a folder of checkpoints safe to resume from: what does not count is set aside, and the pointer is right.

    None means that training starts at step 0, which is right only where no checkpoint was ever whole. Raises DataError
    that says what was found where one was.
    """
    for doomed in root.glob(f"*{_DOOMED}"):
        shutil.rmtree(doomed)
    wrong = {folder: found for folder in _folders(root) if (found := damage(folder)) is not None}
    whole = newest(root)
    if whole is None and (lost := _lost(root, wrong)):
        raise DataError(f"{root}: {lost}; put a whole checkpoint back, or remove {root} to start again from step 0")
    for folder, found in wrong.items():
        _set_aside(folder, found)
    if whole is None:
        (root / POINTER).unlink(missing_ok=True)
    else:
        point(root, whole.step)
        _log.warning("resuming from %s", whole.folder)
    return whole


def point(root: Path, step: int) -> None:
    """Name a step in the file that verl reads, at once."""
    _replace(root / POINTER, str(step))


def prune(root: Path, keep: int | None) -> None:
    """Remove the oldest whole checkpoints beyond `keep`; None keeps all. The newest always stays."""
    whole = [folder for folder in _folders(root) if damage(folder) is None]
    for folder in whole[: -max(keep, 1)] if keep is not None else []:
        # Renamed first: a kill while it is removed must not leave half of a marked folder.
        doomed = folder.rename(folder.with_name(folder.name + _DOOMED))
        shutil.rmtree(doomed)


def _lost(root: Path, wrong: dict[Path, str]) -> str | None:
    """Which checkpoint was whole once and is not any more, in words."""
    marked = [f"{folder.name}: {found}" for folder, found in wrong.items() if (folder / MARK).exists()]
    if marked:
        return f"no checkpoint is whole ({'; '.join(marked)})"
    pointer = root / POINTER
    if not pointer.is_file():
        return None
    step = pointer.read_text(errors="replace").strip()
    # A pointer to an unmarked folder, or one that was torn beside such: the first save was killed before its mark.
    if wrong and (not step.isdigit() or f"global_step_{step}" in {folder.name for folder in wrong}):
        return None
    return f"{POINTER} says {step!r}, but no such checkpoint is there"


def _set_aside(folder: Path, found: str) -> None:
    aside = folder.parent / ASIDE
    aside.mkdir(exist_ok=True)
    number = len(list(aside.glob(f"{folder.name}-*")))
    target = aside / f"{folder.name}-{number}"
    _log.warning("%s %s; moved to %s", folder, found, target)
    folder.rename(target)


def _step(folder: Path) -> int:
    return int(folder.name.removeprefix("global_step_"))


def _folders(root: Path) -> list[Path]:
    """Folders of checkpoints, whole or not, by step."""
    found = root.iterdir() if root.is_dir() else ()
    return sorted((path for path in found if _FOLDER.fullmatch(path.name) and path.is_dir()), key=_step)


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path != folder / MARK)


def _replace(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text)
    _flush(part)
    part.replace(path)
    _flush(path.parent)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
