"""How a job ended, whose doing that was, and whether to send it again."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from tenacity import RetryCallState, Retrying, retry_if_result, wait_exponential


class Cause(StrEnum):
    """Who ended a job."""

    DONE = "done"
    MISTAKE = "mistake"
    ERROR = "error"
    PREEMPTION = "preemption"
    STOPPED = "stopped"


@dataclass(frozen=True)
class Outcome:
    """The end of one attempt."""

    id: str
    cause: Cause
    exit_code: int
    """What the command would have returned had it run here."""
    message: str = ""


TAKEN = re.compile(
    r"NodeDiedError|node .{0,80}(died|was terminated|is dead|preempt|drain)|"
    r"(raylet|node) .{0,40}(missed too many heartbeats|unhealthy)|PreemptionError",
    re.IGNORECASE,
)
"""How Ray says that a machine is gone; a driver elsewhere ends with 1 like any other."""
SUPERVISOR = ("JOB_SUPERVISOR_ACTOR_DIED", "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE")
TERMINATED = (75, 143, -15)
"""A command that was asked to end, by a scheduler that wants its machine back; 75 (EX_TEMPFAIL): it can go on."""
WITHDRAWN = "killed by `ray.kill`"
"""How Ray says that a job was ended before it had started: its jobs interface can only stop what runs."""


def judge(job_id: str, status: str, exit_code: int | None, error_type: str | None, message: str | None) -> Outcome:
    """Name the cause of a terminal status of Ray's jobs interface.

    >>> judge("a", "FAILED", 2, "JOB_ENTRYPOINT_COMMAND_ERROR", "error: seed=x").cause
    <Cause.MISTAKE: 'mistake'>
    """
    text = message or ""
    if status == "SUCCEEDED":
        return Outcome(job_id, Cause.DONE, 0)
    if status == "STOPPED" or WITHDRAWN in text:
        return Outcome(job_id, Cause.STOPPED, 1, "stopped on request")
    if exit_code == 2:
        return Outcome(job_id, Cause.MISTAKE, 2, text)
    taken = exit_code in TERMINATED or error_type in SUPERVISOR or TAKEN.search(text)
    code = 1 if exit_code is None else 128 - exit_code if exit_code < 0 else exit_code
    return Outcome(job_id, Cause.PREEMPTION if taken else Cause.ERROR, code, text)


@dataclass(frozen=True)
class Budget:
    """How often each cause may be tried again."""

    errors: int = 1
    preemptions: int = 20
    first_wait: float = 10.0
    """Seconds before the second attempt; each further wait is twice as long."""
    longest_wait: float = 600.0

    def run(self, attempt: Callable[[], Outcome], announce: Callable[[Outcome, float], None]) -> Outcome:
        """Call `attempt` until it needs no other, or the budget of its cause is spent; the last outcome."""
        left = Counter({Cause.ERROR: self.errors, Cause.PREEMPTION: self.preemptions})

        def spent(state: RetryCallState) -> bool:
            left[_result(state).cause] -= 1
            return left[_result(state).cause] < 0

        retrying = Retrying(
            retry=retry_if_result(lambda outcome: outcome.cause in (Cause.ERROR, Cause.PREEMPTION)),
            stop=spent,
            wait=wait_exponential(multiplier=self.first_wait, max=self.longest_wait),
            before_sleep=lambda state: announce(_result(state), state.upcoming_sleep),
            retry_error_callback=_result,
        )
        return retrying(attempt)


def _result(state: RetryCallState) -> Outcome:
    assert state.outcome is not None
    outcome: Outcome = state.outcome.result()
    return outcome
