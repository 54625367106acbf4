"""Follow a job to its end: its log as it grows, whatever happens to the connection in between."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import aiohttp
from ray.job_submission import JobDetails, JobStatus, JobSubmissionClient

from gr_vl.cluster.client import patiently
from gr_vl.cluster.outcome import Cause, Outcome, judge

POLL = 1.0
"""Seconds between two looks at a job that waits, and between two attempts to read its log."""
QUIET = 30.0
"""Seconds without a line after which the job itself is looked at: a dead connection looks like a quiet job."""


class Log:
    """A job's log, which can be taken up where it was left."""

    def __init__(self, client: JobSubmissionClient, job_id: str, write: Callable[[str], None]) -> None:
        self._client, self._id, self._write = client, job_id, write
        self._seen = 0

    async def tail(self) -> None:
        """Write what is new until the stream ends, or the job does. Raises what the connection raises."""
        lines = self._client.tail_job_logs(self._id)
        passed = 0
        try:
            while (text := await self._next(lines)) is not None:
                # The stream starts at the log's beginning each time.
                fresh = text[max(self._seen - passed, 0) :]
                passed += len(text)
                if fresh:
                    self._seen = passed
                    self._write(fresh)
        finally:
            await lines.aclose()

    async def _next(self, lines: AsyncIterator[str]) -> str | None:
        pending = asyncio.ensure_future(anext(lines, None))
        while not (await asyncio.wait({pending}, timeout=QUIET))[0]:
            if patiently(lambda: self._client.get_job_info(self._id)).status.is_terminal():
                pending.cancel()
                return None
        return pending.result()


def follow(
    client: JobSubmissionClient, job_id: str, write: Callable[[str], None], waits: Callable[[JobDetails], None]
) -> Outcome:
    """Write a job's log until the job has ended; `waits` is called about once a second while it is PENDING.

    Raises StageError when the dashboard stays away. A cluster that came back without the job counts as a preemption.
    """
    log = Log(client, job_id, write)
    while True:
        try:
            info = patiently(lambda: client.get_job_info(job_id))
            if info.status == JobStatus.PENDING:
                waits(info)
            else:
                asyncio.run(log.tail())
                info = patiently(lambda: client.get_job_info(job_id))
            if info.status.is_terminal():
                return judge(job_id, str(info.status), info.driver_exit_code, info.error_type, info.message)
        except RuntimeError as error:
            if "does not exist" in str(error):
                return Outcome(job_id, Cause.PREEMPTION, 1, "the cluster that ran the job is gone")
        except (aiohttp.ClientError, OSError):
            pass  # the next look at the job tells whether it or the connection ended
        time.sleep(POLL)
