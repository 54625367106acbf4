"""The journal of a teacher run: one JSON line an event, on the disk before anything depends on it.

    sent      before a request leaves: key, id, tokens and usd that it may cost
    reply     it was answered: text, finish, tokens, usd; the call is never made again
    rejected  the server refused this request and is known to take others: neither is this one
    unserved  it was turned away or never arrived: nothing was spent, and it may be sent again
    lost      it broke off without an answer: it may have been served, is charged at its most, and may be sent again

A `sent` that nothing follows was in flight when the process died. It becomes `lost` when the journal is next opened.
"""

import fcntl
import json
import os
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from gr_vl.data.text import parse_json
from gr_vl.errors import DataError
from gr_vl.teacher.budget import Cost


@dataclass(frozen=True)
class Reply:
    """What the server answered, and what it cost."""

    text: str
    finish: str
    tokens: int
    usd: float


@dataclass(frozen=True)
class Rejected:
    """The server's refusal of one request."""

    why: str


class Ledger:
    """The journal, locked for this process. Opening it waits until another run of the same output has ended."""

    def __init__(self, path: Path) -> None:
        self.outcomes: dict[str, Reply | Rejected] = {}
        """Finished calls by their key."""
        self.spent, self.events = Cost(), Counter[str]()
        self._open: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b", buffering=0)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._load(path)
        for row in list(self._open.values()):
            self.lost(row["key"], "the process died", Cost(row["tokens"], row["usd"]))

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._file.close()

    def sent(self, key: str, id: str, most: Cost) -> None:
        """A request is about to leave."""
        self._write({"event": "sent", "key": key, "id": id, **asdict(most)})

    def reply(self, key: str, reply: Reply) -> None:
        """A request was answered."""
        self._write({"event": "reply", "key": key, **asdict(reply)})

    def rejected(self, key: str, why: str) -> None:
        """A request was refused for good."""
        self._write({"event": "rejected", "key": key, "why": why})

    def unserved(self, key: str, why: str) -> None:
        """A request was turned away or never arrived."""
        self._write({"event": "unserved", "key": key, "why": why})

    def lost(self, key: str, why: str, most: Cost) -> None:
        """A request may have been served, and its answer is lost."""
        self._write({"event": "lost", "key": key, "why": why, **asdict(most)})

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write((json.dumps(row) + "\n").encode())
        os.fsync(self._file.fileno())
        self._take(row)

    def _load(self, path: Path) -> None:
        self._file.seek(0)
        *lines, tail = self._file.read().split(b"\n")
        if tail:  # torn by a kill while it was written; nothing had depended on it yet
            self._file.truncate(sum(len(line) + 1 for line in lines))
        for number, line in enumerate(lines, start=1):
            try:
                self._take(parse_json(line))
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"{path}: line {number}: no event ({error!r}); delete the line to go on") from None

    def _take(self, row: dict[str, Any]) -> None:
        event, key = row["event"], row["key"]
        self.events[event] += 1
        if not all(isinstance(row.get(name, ""), str) for name in ("key", "text", "finish", "why")):
            raise TypeError("key, text, finish and why are text")
        if event == "sent":
            self._open[key] = row
            return
        self._open.pop(key, None)
        if event == "reply":
            self.outcomes[key] = Reply(row["text"], row["finish"], row["tokens"], row["usd"])
        elif event == "rejected":
            self.outcomes[key] = Rejected(row["why"])
        if event in ("reply", "lost"):
            self.spent += Cost(row["tokens"], row["usd"])
