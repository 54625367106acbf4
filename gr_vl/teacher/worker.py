"""The process that makes the calls. Its standard input is one line of settings; when that pipe closes, it stops.

It lives in a session of its own: when the command is killed, this process sees the pipe close, sends nothing more,
waits for the calls in flight, journals their replies and ends. So killing the command loses no reply that was paid for.
"""

import asyncio
import json
import os
import resource
import sys
import threading
from contextlib import suppress
from typing import Any

from gr_vl.errors import GuardError, StageError
from gr_vl.teacher.ledger import Ledger
from gr_vl.teacher.run import Run
from gr_vl.teacher.settings import Settings


def tell(row: dict[str, Any]) -> None:
    """One line to whoever watches, if anybody still does."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    with suppress(BrokenPipeError):
        os.write(sys.stdout.fileno(), (json.dumps(row | {"peak_rss_gb": peak}) + "\n").encode())


async def serve(settings: Settings) -> None:
    """Run until the end, or until standard input closes."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def watch_input() -> None:
        os.read(sys.stdin.fileno(), 1)
        with suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=watch_input, daemon=True).start()
    with await asyncio.to_thread(Ledger, settings.journal) as ledger:
        run = Run(settings, ledger, stop, tell)
        tell(run.progress())
        await run.all()


def main() -> None:
    """Entry point of `python -m gr_vl.teacher.worker`."""
    line = b""
    while not line.endswith(b"\n"):  # unbuffered: a thread waits on the same pipe later
        if not (byte := os.read(sys.stdin.fileno(), 4096)):
            return
        line += byte
    try:
        asyncio.run(serve(Settings.from_json(json.loads(line))))
    except (GuardError, StageError) as error:
        tell({"error": str(error), "mistake": isinstance(error, GuardError)})


if __name__ == "__main__":
    main()
