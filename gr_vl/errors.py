"""What can go wrong, by whose mistake it is. The command line turns `GuardError` into one line and exit code 2."""

from copy import copy
from typing import Any


class GuardError(Exception):
    """Root of every error that gr_vl raises on purpose: the caller can mend it by changing a key or a file."""


class ConfigError(GuardError, ValueError):
    """A setting is unknown, of the wrong type, or clashes with another. Names key, value, rule and fix."""


class DataError(GuardError, ValueError):
    """A file or a row cannot be used. The message names file, row, rule and fix."""


class Preempted(Exception):
    """A stage was asked to stop, saved a checkpoint and did: exit code 75 (EX_TEMPFAIL). Run again, it goes on."""

    code = 75


class StageError(Exception):
    """A stage started properly and failed: exit code 1. The message names the log file."""


FETCH = "correct the row, or fetch the file again"
SHOWN = 80


class Broken(Exception):
    """What is wrong with a row or a cell: yielded or held in its place, or raised by its reader.

    `value` is what stands there as Python writes it, cut; `reason` is one of few, since rows are counted by it.
    """

    file: str | None = None
    row: int | None = None
    """From 0, as it stands in the file."""
    id: str | None = None

    def __init__(self, field: str, value: Any, reason: str, fix: str = FETCH) -> None:
        self.field, self.value, self.reason, self.fix = field, shown(value), reason, fix
        self._says = " is" if isinstance(value, bytes) else ":" if value is None else f": {self.value}:"
        super().__init__(field, self.value, reason, fix)

    @classmethod
    def repeated(cls, field: str) -> "Broken":
        """A cell of a table that has two columns of one name."""
        return cls(field, None, "a column that is there twice", "keep one of them")

    def at(self, file: str | None, row: int, id: str | None = None) -> "Broken":
        """The same, with its place; holds on to nothing of where it was raised."""
        placed = copy(self)
        placed.file, placed.row, placed.id = file, row, id
        return placed

    def record(self) -> dict[str, Any]:
        """Plain values: a line of a quarantine file."""
        return {name: getattr(self, name) for name in ("file", "row", "id", "field", "value", "reason", "fix")}

    def __str__(self) -> str:
        return f"{self.field}{self._says} {self.reason}; {self.fix}"


def shown(value: Any) -> str:
    """A value for people to read, however large it is."""
    if isinstance(value, bytes) and len(value) > SHOWN:
        return f"{len(value):,} bytes"
    return repr(value[:SHOWN] if isinstance(value, str) else value)[:SHOWN]
