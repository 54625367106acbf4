"""What can go wrong, by whose mistake it is. The command line turns `GuardError` into one line and exit code 2."""


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
