"""How far a build is, and what it and its workers hold in memory."""

import os

import psutil

from gr_vl.launch import State, memory


class Watch:
    """Makes states for `gr_vl.display`."""

    def __init__(self) -> None:
        self._family, self._peak = {psutil.Process()}, 0.0

    def state(self, done: int, total: int | None, note: str) -> State:
        """The state now; looks at the memory, which takes some milliseconds."""
        self._peak = max(self._peak, memory(os.getpid(), self._family))
        return State(done, total, note, self._peak)
