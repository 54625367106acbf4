"""A run that hangs is ended, and says where: in which phase, in which process, over which samples, with stacks.

Every process of a stage keeps a small file in one folder that tells the phases it is in. The stage's own process reads
them; a phase that lasts beyond its limit ends the run with exit code 1, so that whoever submitted it can try again. All
nodes must see the folder. Stacks come from the processes of the stage's own node.
"""

import faulthandler
import json
import os
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

VARIABLE = "GR_VL_PULSE"
"""The environment variable that names the folder; without it, phases are not kept."""
EVERY = 0.5
"""Seconds between two looks."""
SHOWN = 8
"""Samples that are named of those in flight."""


class Pulse:
    """The phases that this process is in. Safe to use from many threads and tasks."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / f"{socket.gethostname()}-{os.getpid()}.json"
        self._open: dict[int, tuple[str, float, str]] = {}
        self._changed = threading.Event()
        threading.Thread(target=self._write, daemon=True).start()

    def begin(self, name: str, sample: str = "") -> int:
        """Enter a phase; the number to end it by."""
        entry = (name, time.time(), sample)
        self._open[id(entry)] = entry
        self._changed.set()
        return id(entry)

    def end(self, number: int) -> None:
        """Leave a phase."""
        self._open.pop(number, None)
        self._changed.set()

    def _write(self) -> None:
        while True:
            self._changed.wait()
            self._changed.clear()
            part = self._path.with_suffix(".part")
            with suppress(OSError):  # the folder goes when the stage ends
                part.write_text(json.dumps(self._phases()))
                part.replace(self._path)
            time.sleep(EVERY)

    def _phases(self) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for name, since, sample in list(self._open.values()):
            phase = found.setdefault(name, {"since": since, "number": 0, "samples": []})
            phase["since"] = min(since, phase["since"])
            phase["number"] += 1
            if sample and len(phase["samples"]) < SHOWN:
                phase["samples"].append(sample)
        return found


_pulse: Pulse | None = None


def begin(name: str, sample: str = "") -> int:
    """Enter a phase of this process; the number to end it by."""
    global _pulse
    if _pulse is None:
        if VARIABLE not in os.environ:
            return 0
        _pulse = Pulse(Path(os.environ[VARIABLE]))
    return _pulse.begin(name, sample)


def end(number: int) -> None:
    """Leave a phase that `begin` entered."""
    if _pulse is not None:
        _pulse.end(number)


@contextmanager
def phase(name: str, sample: str = "") -> Iterator[None]:
    """Be in a phase of this process: load, rollout, reward, log_prob, update, sync or save."""
    number = begin(name, sample)
    try:
        yield
    finally:
        end(number)


def answer_to_signals() -> None:
    """Let this process write its stacks to a file of the folder on SIGUSR1, even when Python code is stuck."""
    if VARIABLE in os.environ:
        with suppress(OSError):
            path = Path(os.environ[VARIABLE]) / f"{socket.gethostname()}-{os.getpid()}.stacks"
            faulthandler.register(signal.SIGUSR1, file=path.open("w"), all_threads=True)


def stalled(folder: Path, limits: Mapping[str, float], now: float) -> str | None:
    """The phase that is most overdue, in words; None if none is. A phase without a limit (in seconds) may last."""
    seen = [(path.stem, name, phase) for path in folder.glob("*.json") for name, phase in _read(path).items()]
    late = [
        (now - phase["since"] - limit, process, name)
        for process, name, phase in seen
        if (limit := limits.get(name)) is not None and now - phase["since"] > limit
    ]
    if not late:
        return None
    over, process, name = max(late)
    # The trainer that waits was late first; the samples are known to those whom it waits for.
    samples = [sample for _, other, phase in sorted(seen, key=str) if other == name for sample in phase["samples"]]
    over_what = f" over the samples {', '.join(samples[:SHOWN])}" if samples else ""
    lasted = f"{name} has lasted {over + limits[name]:.0f} s, gr_vl.watchdog.{name}={limits[name]:g}"
    return f"{lasted}, in process {process}{over_what}"


def _read(path: Path) -> dict[str, dict[str, Any]]:
    with suppress(OSError, ValueError):
        phases: dict[str, dict[str, Any]] = json.loads(path.read_text())
        return phases
    return {}


def watch(folder: Path, limits: Mapping[str, float]) -> None:
    """Start to watch a folder, emptied first. A stall ends this process with exit code 1 after the stacks of all."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    os.environ[VARIABLE] = str(folder.absolute())
    threading.Thread(target=_watch, args=(folder, limits), daemon=True).start()


def _watch(folder: Path, limits: Mapping[str, float]) -> None:
    while (found := stalled(folder, limits, time.time())) is None:
        time.sleep(EVERY)
    sys.stderr.write(stacks(folder))
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    sys.stderr.write(f"StalledError: {found}\n")
    sys.stderr.flush()
    os._exit(1)


def stacks(folder: Path, patience: float = 1.0) -> str:
    """The stacks of every process of this node that answers to signals."""
    own = sorted(folder.glob(f"{socket.gethostname()}-*.stacks"))
    for path in own:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(int(path.stem.rsplit("-", 1)[1]), signal.SIGUSR1)
    time.sleep(patience)
    return "".join(f"--- {path.stem}\n{path.read_text(errors='replace')}\n" for path in own)
