"""What can go wrong, by whose mistake it is. The command line turns `GuardError` into one line and exit code 2."""

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


class Broken(Exception):
    """A row or a cell that is there and cannot be used: yielded or held in its place, or raised by its reader."""

    def __init__(self, field: str, value: Any, reason: str, fix: str = FETCH) -> None:
        super().__init__(reason)
        self.field, self.value, self.reason, self.fix = field, value, reason, fix

    @classmethod
    def repeated(cls, field: str) -> "Broken":
        """A cell of a table that has two columns of one name."""
        return cls(field, None, "a column that is there twice", "keep one of them")

    def __str__(self) -> str:
        if isinstance(self.value, bytes):
            return f"{self.field} is {self.reason}; {self.fix}"
        shown = "" if self.value is None else f"{self.value!r:.80}: "
        return f"{self.field}: {shown}{self.reason}; {self.fix}"
