"""Work in processes that end with the one that started them, in order, with little in flight."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context, parent_process
from typing import TypeVar

from gr_vl.errors import StageError

Job = TypeVar("Job")
Result = TypeVar("Result")
Item = TypeVar("Item")

IN_FLIGHT = 2
"""Jobs a worker: one that it does, one that waits."""


def chunks(items: Iterable[Item], weight: Callable[[Item], int], *, most: int, heaviest: int) -> Iterator[list[Item]]:
    """Items in lists of at most `most`, each closed by the item that makes it weigh `heaviest` or more."""
    chunk: list[Item] = []
    total = 0
    for item in items:
        chunk.append(item)
        total += weight(item)
        if len(chunk) == most or total >= heaviest:
            yield chunk
            chunk, total = [], 0
    if chunk:
        yield chunk


def worked(jobs: Iterable[Job], work: Callable[[Job], Result], workers: int) -> Iterator[Result]:
    """`work` of every job, in order. With one worker it is done in this process.

    Raises StageError when a worker process is killed, and whatever `work` raises.
    """
    if workers == 1:
        # No map: it would take a StopIteration that `work` raises for the end of the jobs.
        for job in jobs:
            yield work(job)
        return
    # Spawned: a fork would copy whatever threads and locks the caller has.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_end_with_parent) as pool:
        pending: deque[Future[Result]] = deque()
        try:
            for job in jobs:
                pending.append(pool.submit(work, job))
                if len(pending) >= IN_FLIGHT * workers:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        except BrokenProcessPool:
            raise StageError("a worker process was killed, perhaps for memory; run again to go on") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _end_with_parent() -> None:
    """A pool's workers wait on a pipe of which each holds both ends: a killed parent would leave them for ever."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
