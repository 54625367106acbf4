"""Ray's job client with what it lacks: time limits, patience with a lost connection, errors that name their cause."""

import logging
import os
import shlex
from collections.abc import Callable
from typing import Any, TypeVar

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobDetails, JobSubmissionClient
from tenacity import RetryError, Retrying, retry_if_exception, stop_after_delay, wait_exponential

from gr_vl.cluster.address import HELP, reach
from gr_vl.errors import ConfigError, StageError

Result = TypeVar("Result")
REPLY_SECONDS = 60.0
"""How long one request may go without an answer."""
PATIENCE = 900.0
"""Seconds without a dashboard after which it is given up; a head node is restarted in less."""
LOST = (requests.ConnectionError, requests.Timeout, ConnectionError)


class Client(JobSubmissionClient):
    """A connection to one dashboard."""

    def _do_request(self, method: str, endpoint: str, **options: Any) -> Any:
        # Ray sets no limit: a machine that vanished would keep the caller for ever.
        return super()._do_request(method, endpoint, **{"timeout": REPLY_SECONDS, **options})

    def fetch(self, endpoint: str) -> Any:
        """The JSON of a dashboard page that the SDK has no method for. Raises RuntimeError for any other status."""
        reply = self._do_request("GET", endpoint)
        if reply.status_code != 200:
            self._raise_error(reply)
        return reply.json()

    def text(self, endpoint: str) -> str:
        """The text of such a page; empty where there is none."""
        reply = self._do_request("GET", endpoint)
        return str(reply.text) if reply.status_code == 200 else ""


def connect(url: str) -> Client:
    """A client of the dashboard at `url`. Raises ConfigError when it does not answer or refuses the token."""
    logging.getLogger("ray").setLevel(logging.WARNING)
    reach(url)
    try:
        # The environment's address wins over the one that is passed.
        os.environ["RAY_API_SERVER_ADDRESS"] = url
        return Client(url)
    except AuthenticationError as error:
        why = " ".join(str(error).split("\n\n")[0].split())
        raise ConfigError(
            f"RAY_ADDRESS={url}: Ray's token authentication refused this client ({why}); {HELP}"
        ) from None
    except (*LOST, RuntimeError) as error:
        raise ConfigError(f"RAY_ADDRESS={url}: no Ray dashboard there ({' '.join(str(error).split())})") from None


def patiently(call: Callable[[], Result]) -> Result:
    """Call again while the dashboard is away. Raises StageError after `PATIENCE` seconds of that."""
    waiting = Retrying(
        retry=retry_if_exception(_is_lost),
        wait=wait_exponential(multiplier=1, max=15),
        stop=stop_after_delay(PATIENCE),
    )
    try:
        return waiting(call)
    except RetryError as error:
        cause = " ".join(str(error.last_attempt.exception()).split())
        raise StageError(
            f"no dashboard for {PATIENCE:.0f} s ({cause}); the job may go on: submit again to attach"
        ) from None


def withdraw(client: JobSubmissionClient, job_id: str) -> None:
    """End a job that has not started, which Ray's own stop would leave waiting: a second job ends what waits for it."""
    name = f"_ray_internal_job_actor_{job_id}"
    code = f"import ray; ray.init(); ray.kill(ray.get_actor({name!r}, 'SUPERVISOR_ACTOR_RAY_NAMESPACE'))"
    client.submit_job(entrypoint=shlex.join(["python", "-c", code]))


def attempts(client: JobSubmissionClient, name: str | None = None) -> list[JobDetails]:
    """Jobs that `gr-vl submit` sent, oldest first; with `name`, the attempts of that job or that attempt alone."""
    ours = [job for job in client.list_jobs() if job.submission_id and "config" in (job.metadata or {})]
    known = [job for job in ours if name is None or job.submission_id == name or _job_of(job.submission_id) == name]
    return sorted(known, key=lambda job: (job.start_time or 0, number(job)))


def number(job: JobDetails) -> int:
    """Which attempt a job of ours is, from 1."""
    return int(str(job.submission_id).rsplit("-", 1)[1])


def _job_of(submission_id: str) -> str:
    return submission_id.rsplit("-", 1)[0]


def _is_lost(error: BaseException) -> bool:
    return isinstance(error, LOST) or (isinstance(error, RuntimeError) and "status code 5" in str(error))
