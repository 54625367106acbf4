"""SIGTERM ends training at the end of the step at hand, with a checkpoint.

Schedulers send it before they take a machine away. It reaches the stage's process; the trainer may run in another, on
another machine, so the request is a file in the stage's folder, which all of them see.
"""

import signal
from pathlib import Path

NAME = "stop"


def listen(folder: Path) -> None:
    """Take no notice of earlier requests; from now on, SIGTERM to this process is one."""
    (folder / NAME).unlink(missing_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: (folder / NAME).touch())


def requested(folder: Path) -> bool:
    """Whether training is to end."""
    return (folder / NAME).exists()
