"""Requests to the endpoint: accounted for before and after, repeated only when no answer came.

A request is sent again after 408, 409, 429 and 5xx, after a time-out, a broken connection and a broken body. What would
refuse every request ends the run. A refusal of one request is final once the server is known to take others.
"""

import asyncio
from contextlib import suppress

from gr_vl.chat.client import Chat, NoCompletionError
from gr_vl.chat.completion import Completion
from gr_vl.chat.doubt import Doubt
from gr_vl.chat.refusal import Kind
from gr_vl.chat.retrying import retrying
from gr_vl.errors import ConfigError, StageError
from gr_vl.teacher import prompt
from gr_vl.teacher.budget import Budget, cost_of, most
from gr_vl.teacher.ledger import Ledger, Rejected, Reply
from gr_vl.teacher.prompt import Request
from gr_vl.teacher.settings import Settings


class StoppedError(Exception):
    """No request may leave any more."""


class Client:
    """One reply for one request, from the journal if it is there."""

    def __init__(self, settings: Settings, ledger: Ledger, budget: Budget, stop: asyncio.Event) -> None:
        self._settings, self._ledger, self._budget, self._stop = settings, ledger, budget, stop
        self.misses, self.answered = 0, False
        """Requests in a row that stayed without an answer, and whether any had one."""
        self._running: dict[str, asyncio.Task[Reply | Rejected]] = {}
        self._chat = Chat(settings.base_url, settings.api_key(), settings.timeout, once=True)
        self._doubt = Doubt(any(isinstance(outcome, Reply) for outcome in ledger.outcomes.values()))
        self._refused: dict[str, Rejected] = {}
        """Refusals that no answer has followed, by the key of their request."""

    async def close(self) -> None:
        """Close the connections."""
        await self._chat.close()

    async def ask(self, request: Request, id: str) -> Reply | Rejected:
        """The outcome of a request; equal requests share it, whether they are done, in flight or yet to come.

        Raises NoCompletionError after the last try, StoppedError when the run ends, ConfigError when the server
        refuses every request.
        """
        if done := self._ledger.outcomes.get(request.key) or self._refused.get(request.key):
            return done
        if request.key not in self._running:
            task = self._running[request.key] = asyncio.create_task(self._ask(request, id))
            task.add_done_callback(lambda _: self._running.pop(request.key))
        return await self._running[request.key]

    async def settle(self) -> None:
        """Make the refusals that are left final. Raises ConfigError when they may be the settings' fault."""
        if self._refused and not self._doubt.answered:
            raise self._mistake(f"no request was answered; the first: {self._doubt.first}")
        try:
            await self._clear_up(enough=2)
        except NoCompletionError as error:
            raise StageError(f"whether refusals are final is unknown ({error}); run again to go on") from None
        self._confirm()

    async def _ask(self, request: Request, id: str) -> Reply | Rejected:
        # Whatever else is refused came back as an outcome.
        tries = retrying(self._settings.tries, self._settings.backoff, lambda _: True, self._sleep)
        try:
            outcome: Reply | Rejected = await tries(self._try, request, id)
        except NoCompletionError:
            self.misses += 1
            raise
        self.misses, self.answered = 0, True
        if self._doubt.hopeless:
            raise self._hopeless()
        await self._clear_up()
        return outcome

    async def _try(self, request: Request, id: str) -> Reply | Rejected:
        reserved = most(request, self._settings)
        await self._budget.reserve(reserved)
        try:
            async with self._doubt.turn():
                if self._stop.is_set():
                    raise StoppedError
                self._ledger.sent(request.key, id, reserved)
                completion = await self._chat.send(request.body)
            return self._replied(request, completion)
        except NoCompletionError as error:
            if error.served:
                self._ledger.lost(request.key, str(error), reserved)
                self._unreadable(error)
                raise
            return self._turned_away(error, request.key)
        finally:
            await self._budget.release(reserved)

    def _replied(self, request: Request, completion: Completion) -> Reply:
        used = completion.used or (request.prompt_tokens, request.max_tokens)
        cost = cost_of(*used, self._settings)
        reply = Reply(completion.text, completion.finish, cost.tokens, cost.usd)
        self._ledger.reply(request.key, reply)
        self._doubt.heard()
        self._confirm()
        return reply

    def _turned_away(self, error: NoCompletionError, key: str) -> Rejected:
        if error.kind is Kind.SAMPLE and self._doubt.answered:
            self._ledger.rejected(key, str(error))
            return Rejected(str(error))
        self._ledger.unserved(key, str(error))
        if error.kind is Kind.PASSING:
            raise error
        if error.kind is Kind.SETTINGS:
            raise self._mistake(str(error))
        self._doubt.refused(error)
        self._refused[key] = Rejected(str(error))
        return self._refused[key]

    def _unreadable(self, error: NoCompletionError) -> None:
        """A body that is no completion is worth another try, unless this server has never sent anything else."""
        if error.kind is Kind.UNCLEAR:
            self._doubt.refused(error)
            if self._doubt.hopeless:
                raise self._hopeless()

    def _hopeless(self) -> ConfigError:
        return self._mistake(f"none of the first requests was answered: {self._doubt.first}")

    def _confirm(self) -> None:
        """The server takes these settings: what it refused before is refused for good."""
        while self._refused:
            key, rejected = self._refused.popitem()
            self._ledger.rejected(key, rejected.why)

    async def _clear_up(self, enough: int | None = None) -> None:
        """Ask something harmless if a row of refusals may be the settings' fault. Raises ConfigError when it is."""
        probe = prompt.probe(self._settings)

        async def prove() -> None:
            if isinstance(outcome := await self._try(probe, "probe"), Rejected):
                raise self._mistake(f"every request is refused, though others were answered: {outcome.why}")

        await self._doubt.clear_up(prove, enough)

    def _mistake(self, words: str) -> ConfigError:
        hint = f"check --base-url, --model and the key in {self._settings.api_key_env}"
        return ConfigError(f"--base-url {self._settings.base_url}: {words}; {hint}")

    async def _sleep(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), seconds)
        if self._stop.is_set():
            raise StoppedError
