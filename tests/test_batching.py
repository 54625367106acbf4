"""One thread, batches of what waits, an end to the queue."""

import sys
import threading
from concurrent.futures import CancelledError

import pytest

from gr_vl.errors import DataError
from gr_vl.guard.batching import Batcher, BusyError, ClosedError
from gr_vl.guard.moderation import Exchange


class Held:
    """An answerer that starts when it is told to, and writes down what it got."""

    def __init__(self, answer=lambda exchange: exchange.prompt.upper()):
        self.go, self.began, self.batches, self.answer = threading.Event(), threading.Event(), [], answer

    def __call__(self, exchanges):
        self.batches.append([exchange.prompt for exchange in exchanges])
        self.began.set()
        assert self.go.wait(10)
        return [self.answer(exchange) for exchange in exchanges]


def exchanges(letters):
    return [Exchange(letter) for letter in letters]


def test_what_waits_is_answered_together_and_in_order():
    held = Held()
    batcher = Batcher(held, batch_size=3, limit=None)
    futures = batcher.submit(exchanges("a"))
    assert held.began.wait(10)
    futures += batcher.submit(exchanges("bcde"))
    held.go.set()
    assert [future.result(10) for future in futures] == list("ABCDE")
    assert held.batches == [["a"], ["b", "c", "d"], ["e"]]
    batcher.close()


def test_a_full_queue_takes_all_of_a_request_or_nothing():
    held = Held()
    batcher = Batcher(held, batch_size=1, limit=2)
    first = batcher.submit(exchanges("a"))
    assert held.began.wait(10)
    waiting = batcher.submit(exchanges("b"))
    with pytest.raises(BusyError) as refused:
        batcher.submit(exchanges("cd"))
    assert (batcher.waiting, refused.value.retry_after) == (1, 1)
    waiting += batcher.submit(exchanges("c"))
    held.go.set()
    assert [future.result(10) for future in first + waiting] == ["A", "B", "C"]
    batcher.close()


def test_who_gives_up_before_the_batch_costs_nothing():
    held = Held()
    batcher = Batcher(held, batch_size=1, limit=None)
    first, second, third = (batcher.submit(exchanges(letter))[0] for letter in "abc")
    assert held.began.wait(10)
    assert second.cancel()
    held.go.set()
    assert (first.result(10), third.result(10)) == ("A", "C")
    with pytest.raises(CancelledError):
        second.result(0)
    assert held.batches == [["a"], ["c"]]
    batcher.close()


def test_one_that_cannot_be_judged_spoils_nothing_but_itself():
    held = Held(lambda exchange: DataError("no picture") if exchange.prompt == "b" else exchange.prompt)
    held.go.set()
    batcher = Batcher(held, batch_size=8, limit=None)
    a, b, c = batcher.submit(exchanges("abc"))
    assert (a.result(10), c.result(10)) == ("a", "c")
    with pytest.raises(DataError, match="no picture"):
        b.result(10)
    batcher.close()


def test_a_batch_that_breaks_is_taken_apart():
    def answer(batch):
        if any(exchange.prompt == "b" for exchange in batch):
            raise MemoryError
        return [exchange.prompt for exchange in batch]

    gate = Held()
    batcher = Batcher(lambda batch: gate(batch) and answer(batch), batch_size=8, limit=None)
    gate.go.set()
    a, b, c = batcher.submit(exchanges("abc"))
    assert (a.result(10), c.result(10)) == ("a", "c")
    with pytest.raises(MemoryError):
        b.result(10)
    batcher.close()


def test_closing_answers_what_waits_and_takes_nothing_more():
    held = Held()
    batcher = Batcher(held, batch_size=1, limit=None)
    futures = batcher.submit(exchanges("ab"))
    held.go.set()
    batcher.close()
    assert [future.result(0) for future in futures] == ["A", "B"]
    with pytest.raises(ClosedError):
        batcher.submit(exchanges("c"))


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_thread_that_ended_takes_nothing_and_says_so():
    batcher = Batcher(lambda _: sys.exit("broken"), batch_size=1, limit=None)
    assert batcher.alive
    batcher.submit(exchanges("a"))
    batcher._thread.join(10)
    assert not batcher.alive
    with pytest.raises(ClosedError, match="the thread that judges has ended"):
        batcher.submit(exchanges("b"))
