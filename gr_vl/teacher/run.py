"""All samples of a corpus, from the first call to the files. Neither order nor kills change what is written."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from gr_vl import dialects
from gr_vl.chat.client import NoCompletionError
from gr_vl.data import io, quarantine
from gr_vl.data.build.files import replace_text
from gr_vl.errors import Broken, DataError, StageError
from gr_vl.schema import Label, Sample, Task
from gr_vl.teacher import prompt
from gr_vl.teacher.budget import Budget
from gr_vl.teacher.client import Client, StoppedError
from gr_vl.teacher.judge import Fault, Refusal, judge
from gr_vl.teacher.ledger import Ledger, Rejected
from gr_vl.teacher.settings import Settings

MISSES = 3
"""Requests in a row without any answer, beside those in flight, after which the server counts as gone."""


@dataclass(frozen=True)
class Taught:
    """Reasoning that a sample gets, and the labels that it ends in where none were known."""

    reasoning: str
    decided: dict[Task, Label]


@dataclass(frozen=True)
class Quarantined:
    """What a sample was refused for, reply by reply."""

    refusals: tuple[Refusal, ...]
    reply: str | None
    """The last reply, if any came."""


Watcher = Callable[[dict[str, Any]], None]


class Run:
    """One pass over the corpus. `stop` ends it after the calls in flight; `watch` is told after every sample."""

    def __init__(self, settings: Settings, ledger: Ledger, stop: asyncio.Event, watch: Watcher) -> None:
        self._settings, self._ledger, self._stop, self._watch = settings, ledger, stop, watch
        self._dialect = dialects.get(settings.dialect)
        self._client = Client(settings, ledger, Budget(settings, lambda: ledger.spent), stop)
        self._outcomes: dict[int, Taught | Quarantined | None] = {}
        self._quarantined = 0
        self._error: Exception | None = None
        self._total = io.count(settings.source)

    async def all(self) -> bool:
        """Ask for every sample and write the files; False when stopped before the end, with nothing written."""
        rows = enumerate(io.iterate(self._settings.source))
        await asyncio.gather(*(self._worker(rows) for _ in range(self._settings.concurrency)))
        try:
            if self._error is not None:
                raise self._error
            if len(self._outcomes) < self._total:
                return False
            if self._client.misses and not self._client.answered:
                raise StageError("the server answered nothing at all; run again to go on")
            await self._client.settle()
        finally:
            await self._client.close()
        self._write()
        return True

    async def _worker(self, rows: Iterator[tuple[int, Sample]]) -> None:
        # No error may cancel the other workers: what they have sent must still be journalled.
        try:
            for row, sample in rows:
                if self._stop.is_set():
                    return
                outcome = None if sample.reasoning else await self._reason(sample)
                self._outcomes[row] = outcome
                self._quarantined += isinstance(outcome, Quarantined)
                self._watch(self.progress())
        except StoppedError:
            return
        except Exception as error:
            self._error = self._error or error
            self._stop.set()

    async def _reason(self, sample: Sample) -> Taught | Quarantined:
        refusals: list[Refusal] = []
        reply = None
        while len(refusals) < self._settings.attempts:
            try:
                request = prompt.request(sample, self._dialect, self._settings, [item.why for item in refusals])
                outcome = await self._client.ask(request, sample.id)
            except DataError as error:
                return Quarantined((*refusals, Refusal(Fault.UNUSABLE_SAMPLE, str(error))), reply)
            except NoCompletionError as error:
                self._missed(error)
                return Quarantined((*refusals, Refusal(Fault.NO_REPLY, str(error))), reply)
            if isinstance(outcome, Rejected):
                return Quarantined((*refusals, Refusal(Fault.REJECTED_REQUEST, outcome.why)), reply)
            reply = outcome.text
            verdict = judge(sample, outcome.text, outcome.finish, self._dialect)
            if not isinstance(verdict, Refusal):
                known = self._dialect.expected(sample)
                decided = {task: label for task, label in verdict.labels.items() if task not in known}
                return Taught(verdict.reasoning, decided)
            refusals.append(verdict)
        return Quarantined(tuple(refusals), reply)

    def _missed(self, error: NoCompletionError) -> None:
        if self._client.misses >= self._settings.concurrency + MISSES:
            number = self._client.misses
            raise StageError(f"no reply to {number} requests in a row ({error}); run again to go on") from None

    def progress(self) -> dict[str, Any]:
        """How far the run is, and what all calls of this output have cost."""
        events = self._ledger.events
        return {
            "done": len(self._outcomes),
            "total": self._total,
            "quarantined": self._quarantined,
            "calls": events["reply"] + events["rejected"] + events["lost"],
            "lost": events["lost"],
            "tokens": self._ledger.spent.tokens,
            "usd": round(self._ledger.spent.usd, 6),
        }

    def _write(self) -> None:
        outcomes = [self._outcomes[row] for row in range(self._total)]
        lines, reasons = [], Counter[str]()
        for row, sample in enumerate(io.iterate(self._settings.source)):
            if isinstance(outcome := outcomes[row], Quarantined):
                lines.append(_record(outcome, self._settings.source.name, row, sample))
                reasons[outcome.refusals[-1].fault] += 1
        summary = self.progress() | {
            "kept": outcomes.count(None),
            "reasons": dict(sorted(reasons.items())),
            "events": dict(sorted(self._ledger.events.items())),
            "model": self._settings.model,
        }
        quarantine.write(self._settings.quarantine, lines)
        replace_text(self._settings.summary, json.dumps(summary, indent=2) + "\n")
        # Last: where it stands, the run is whole.
        io.write(self._settings.out, self._samples(outcomes), dialects.spec(self._settings.dialect))

    def _samples(self, outcomes: list[Taught | Quarantined | None]) -> Iterator[Sample]:
        for sample, outcome in zip(io.iterate(self._settings.source), outcomes, strict=True):
            if outcome is None:
                yield sample
            elif isinstance(outcome, Taught):
                yield replace(sample, reasoning=outcome.reasoning, taught=outcome.decided or None)


def _record(outcome: Quarantined, file: str, row: int, sample: Sample) -> dict[str, Any]:
    last = outcome.refusals[-1]
    bad = Broken("reasoning", outcome.reply, last.fault, "run again with more attempts, or write it by hand")
    refusals = [{"reason": refusal.fault, "why": refusal.why} for refusal in outcome.refusals]
    more = {"source": sample.source, "why": last.why, "refusals": refusals, "reply": outcome.reply}
    return bad.at(file, row, sample.id).record() | more
