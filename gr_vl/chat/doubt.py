"""Whether a server refuses what every request holds, when its refusals do not say.

Until any request is answered they leave one at a time, and a few refusals are enough. Afterwards a row of refusals in
the same words is cleared up by a request that is known to be good: if it is answered, the samples are refused.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from gr_vl.chat.client import NoCompletionError
from gr_vl.chat.refusal import Kind

FEW = 4
"""Refusals, with no answer before, that condemn the settings; in a row and in the same words, that ask for proof."""


class Doubt:
    """What the answers and refusals of one endpoint say so far."""

    def __init__(self, answered: bool) -> None:
        self.answered = answered
        """Whether any request with these settings ever had an answer."""
        self.first = ""
        """The words of the first refusal."""
        self._row = Counter[str]()
        self._enough, self._together = FEW, answered
        self._alone, self._proof = asyncio.Lock(), asyncio.Lock()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """The right to send a request: one at a time until the server shows that it takes the settings."""
        await self._alone.acquire()
        if self._together:
            self._alone.release()
            yield
            return
        try:
            yield
        except NoCompletionError as error:
            self._together = self._together or error.kind in (Kind.PASSING, Kind.SAMPLE)
            raise
        finally:
            self._alone.release()

    def heard(self) -> None:
        """A request was answered."""
        self.answered = self._together = True
        self._row.clear()

    def refused(self, error: NoCompletionError) -> None:
        """A request was refused, and it is unclear or the sample's."""
        self.first = self.first or str(error)
        if error.kind is Kind.UNCLEAR:
            self._row[str(error)] += 1

    @property
    def hopeless(self) -> bool:
        """Whether nothing was ever answered, and a few requests were refused."""
        return not self.answered and self._row.total() >= FEW

    def pending(self, enough: int | None = None) -> bool:
        """Whether so many refusals in a row, in the same words, ask for proof."""
        return self.answered and max(self._row.values(), default=0) >= (enough or self._enough)

    async def clear_up(self, prove: Callable[[], Awaitable[object]], enough: int | None = None) -> None:
        """Send a good request if there is need. Raises NoCompletionError when it is refused too."""
        async with self._proof:
            if self.pending(enough):
                await prove()
                self.heard()
                self._enough *= 2
