"""Where the spec of a guard is found: in what was made for it, or in the run or the build around that.

`guard` in run.json, in a build's manifest.json, in the gr_vl.json of an exported folder and in a corpus's footer.
"""

from pathlib import Path
from typing import Any

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.data.text import parse_json
from gr_vl.errors import ConfigError, DataError
from gr_vl.tasks import GuardSpec

EXPORTED = "gr_vl.json"
"""Written by `gr-vl export` into the model folder: {"guard": the spec}."""
DEPTH = 5
"""Folders between a file and the run.json of its run, at most: RUN/STAGE/checkpoints/STEP/actor/huggingface."""


def above(path: Path) -> GuardSpec | None:
    """The guard that a file or folder is of, by itself or by what is around it; None when nothing says."""
    place = path.resolve()
    if place.suffix == ".parquet" and place.is_file() and (spec := io.guard_of(place)) is not None:
        return spec
    homes = (place, *place.parents[:DEPTH])
    for file in (place / EXPORTED, place.parent / "manifest.json", *(home / "run.json" for home in homes)):
        if (spec := stated(file)) is not None:
            return spec
    return None


def stated(file: Path) -> GuardSpec | None:
    """The guard that a JSON file names; None when there is no such file, or no guard in it."""
    found = read_object(file).get("guard")
    if found is None:
        return None
    try:
        return GuardSpec.from_json(found)
    except DataError as error:
        raise DataError(f"{file}: {error}; run again what wrote it") from None


def find(path: Path, given: str | None = None) -> str:
    """The dialect that is given, or else that of the guard that a path is of.

    Raises ConfigError when nothing names one, DataError when there is no such path.
    """
    if given is not None:
        return given
    if not path.exists():
        raise DataError(f"{path}: no such file or folder; correct the path")
    spec = above(path)
    return needed(None if spec is None else spec.dialect, path)


def needed(name: str | None, what: object) -> str:
    """The dialect that was found. ConfigError that says what to pass when none was."""
    if name:
        return name
    known = ", ".join(dialects.names())
    raise ConfigError(f"{what}: nothing says which guard it is of; pass --dialect, one of: {known}")


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file; empty when there is no such file. DataError when it is broken."""
    if not path.is_file():
        return {}
    try:
        content = parse_json(path.read_bytes())
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); delete it and run the stage again") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds {type(content).__name__}, not an object; delete it and run the stage again")
    return content
