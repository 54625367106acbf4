"""One thread that answers whatever waits, together. The queue has an end: who comes too late is told so at once."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from gr_vl.guard.moderation import Exchange, Moderation, Outcome

Waiting = tuple[Exchange, "Future[Moderation]"]


DEAD = "the thread that judges has ended; start the process again, its log says why"


class BusyError(Exception):
    """The queue has no room. `retry_after` is in seconds."""

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the queue is full; try again in {retry_after} s")
        self.retry_after = retry_after


class ClosedError(Exception):
    """No exchange is taken any more."""


class Batcher:
    """Batches of at most `batch_size`; at most `limit` exchanges wait, or any number when it is None."""

    def __init__(
        self, answer: Callable[[Sequence[Exchange]], Sequence[Outcome]], *, batch_size: int, limit: int | None
    ) -> None:
        self._answer, self._size, self._limit = answer, batch_size, limit
        self._queue: deque[Waiting] = deque()
        self._ready, self._closed = threading.Condition(), False
        self._seconds = 0.1
        """Recent time of one exchange, in a batch."""
        self._thread = threading.Thread(target=self._work, name="guard", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Exchanges that no batch has taken yet."""
        return len(self._queue)

    @property
    def alive(self) -> bool:
        """Whether there is a thread that answers."""
        return self._thread.is_alive()

    def submit(self, exchanges: Sequence[Exchange]) -> list["Future[Moderation]"]:
        """A future for each exchange; a future holds DataError where its exchange cannot be judged.

        Raises BusyError when there is no room for all of them, ClosedError after `close` or the thread's end. A future
        that is cancelled before its batch begins costs nothing.
        """
        futures: list[Future[Moderation]] = [Future() for _ in exchanges]
        with self._ready:
            if self._closed:
                raise ClosedError("shutting down")
            if not self.alive:
                raise ClosedError(DEAD)
            if self._limit is not None and len(self._queue) + len(exchanges) > self._limit:
                raise BusyError(max(1, math.ceil(len(self._queue) * self._seconds)))
            self._queue.extend(zip(exchanges, futures, strict=True))
            self._ready.notify()
        return futures

    def close(self) -> None:
        """Take nothing more, answer what waits, end."""
        with self._ready:
            self._closed = True
            self._ready.notify()
        self._thread.join()

    def _work(self) -> None:
        while batch := self._take():
            live = [(exchange, future) for exchange, future in batch if future.set_running_or_notify_cancel()]
            if live:
                began = time.perf_counter()
                self._settle(live)
                self._seconds += 0.2 * ((time.perf_counter() - began) / len(live) - self._seconds)

    def _take(self) -> list[Waiting]:
        with self._ready:
            self._ready.wait_for(lambda: self._queue or self._closed)
            return [self._queue.popleft() for _ in range(min(self._size, len(self._queue)))]

    def _settle(self, batch: Sequence[Waiting]) -> None:
        try:
            outcomes: Sequence[Outcome | Exception] = self._answer([exchange for exchange, _ in batch])
        except Exception as error:
            if len(batch) > 1:  # what fails together, out of memory say, may succeed alone
                for item in batch:
                    self._settle([item])
                return
            outcomes = [error]
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
