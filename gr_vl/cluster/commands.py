"""`gr-vl submit` and `gr-vl jobs`: stages on a cluster, as they would run here."""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gr_vl import display, extras, limits
from gr_vl.cluster import address
from gr_vl.cluster.job import Asks, Job, plan
from gr_vl.errors import ConfigError, StageError

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

    from gr_vl.cluster.client import Client
    from gr_vl.cluster.outcome import Outcome

EXAMPLE = "Example: gr-vl submit rl guardreasoner_vl model=3b run=/mnt/runs/first --address http://localhost:8265"
EXPLAIN_EVERY = 15.0
"""Seconds between two looks at why a job waits."""

Address = Annotated[
    str | None, typer.Option("--address", help="The cluster's dashboard, http://HOST:8265; RAY_ADDRESS if not given.")
]
Insecure = Annotated[
    bool, typer.Option("--insecure", help="Talk to a dashboard that others can reach, without a token.")
]
JobId = Annotated[str | None, typer.Argument(metavar="[ID]", help="A submission id, with or without its attempt.")]

app = typer.Typer(
    no_args_is_help=True,
    help="Jobs that `gr-vl submit` sent: what they do, what they said, and their end.",
    epilog="Example: gr-vl jobs status",
)


def submit(
    stage: Annotated[str, typer.Argument(metavar="STAGE", help="data, base, sft, mine, concat, rl, eval or pipeline.")],
    recipe: Annotated[str, typer.Argument(help="A folder below recipes/, by name or by path.")],
    overrides: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="As the stage takes them.")
    ] = None,
    to: Address = None,
    insecure: Insecure = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the `ray job submit` line that does it, and stop.")
    ] = False,
    wait: Annotated[bool, typer.Option(help="Follow the job to its end and return its exit code.")] = True,
    cpus: Annotated[float, typer.Option(help="CPUs that the driver reserves; it then runs where they are free.")] = 0,
    gpus: Annotated[float, typer.Option(help="GPUs of the driver; its workers take theirs from the recipe.")] = 0,
    resource: Annotated[list[str] | None, typer.Option(help="NAME=NUMBER of a custom resource of the driver.")] = None,
    retries: Annotated[int, typer.Option(help="Further attempts after failures; never after a mistake.")] = 1,
    preemptions: Annotated[int, typer.Option(help="Further attempts after a machine was taken away.")] = 20,
    upload_limit: Annotated[float, typer.Option(help="Megabytes that may travel with the job.")] = 50,
) -> None:
    """Run a stage, or the pipeline, as a Ray job: checked here first and followed to its end. Submit again to go on."""
    given = {"--cpus": cpus, "--gpus": gpus, "--retries": retries, "--preemptions": preemptions}
    for name, value in (given | {"--upload-limit": upload_limit}).items():
        limits.above(name, value, reached=True)
    job = plan(stage, recipe, overrides or [], Asks(cpus, gpus, _custom(resource or [])), Path.cwd())
    if dry_run:
        typer.echo(job.shell(to or os.environ.get("RAY_ADDRESS", "http://HOST:8265")))
        return
    url = address.dashboard(to, insecure=insecure)
    _need_ray()
    from gr_vl.cluster.outcome import Budget

    console = display.console()
    client = _prepare(job, url, upload_limit, console)
    if not wait:
        console.print(f"sent  {_send(client, job, console)}; gr-vl jobs logs {job.name}")
        return
    budget = Budget(retries, preemptions)
    try:
        outcome = budget.run(lambda: _attempt(client, job, console), lambda end, s: _announce(end, s, console))
    except KeyboardInterrupt:
        display.say(console, "left", "yellow", f"  {job.name} goes on; gr-vl jobs stop {job.name} ends it")
        raise typer.Exit(130) from None
    _conclude(outcome, console)


@app.command(epilog="Example: gr-vl jobs status demo-rl-1b2c3d4e")
def status(job: JobId = None, to: Address = None, insecure: Insecure = False) -> None:
    """What jobs do, and why one waits."""
    from_cluster = _client(to, insecure)
    from gr_vl.cluster.explain import Load

    console = display.console()
    found = _attempts(from_cluster, job)
    for details in found:
        console.print(_line(details))
    if found and not found[-1].status.is_terminal():
        console.print(_why(from_cluster, found[-1]))
    elif not found:
        console.print(f"no jobs; {Load.read(from_cluster.fetch('/api/cluster_status')).words()}")


@app.command(epilog="Example: gr-vl jobs logs demo-rl-1b2c3d4e")
def logs(job: JobId = None, to: Address = None, insecure: Insecure = False) -> None:
    """Write a job's log, and follow it while the job runs."""
    client = _client(to, insecure)
    from gr_vl.cluster.follow import follow

    console = display.console()
    _conclude(follow(client, _newest(client, job), _write, _waits(client, console)), console)


@app.command(epilog="Example: gr-vl jobs stop demo-rl-1b2c3d4e")
def stop(job: JobId = None, to: Address = None, insecure: Insecure = False) -> None:
    """Ask a job to end: it gets ten minutes for its step and a checkpoint. Submitting it again goes on from there."""
    client = _client(to, insecure)
    from gr_vl.cluster.client import withdraw

    name = _newest(client, job)
    status = str(client.get_job_info(name).status)
    if status == "PENDING":
        withdraw(client, name)
    stopped = status == "PENDING" or client.stop_job(name)
    display.console().print(f"{'asked to stop' if stopped else 'had ended before'}  {name}")


def _prepare(job: Job, url: str, limit: float, console: Console) -> "Client":
    from gr_vl.cluster.client import connect
    from gr_vl.cluster.upload import measure

    for line in measure(job.root, limit).lines():
        console.print(line)
    run = job.metadata["run"]
    if not Path(run).is_dir():
        console.print(f"run={run} is not on this machine: its files are checked by the job")
    return connect(url)


def _send(client: "Client", job: Job, console: Console) -> str:
    """The id of the job's running attempt, or of a new one."""
    from gr_vl.cluster.client import attempts, number, patiently

    before = patiently(lambda: attempts(client, job.name))
    if before and not before[-1].status.is_terminal():
        console.print(f"attached to {before[-1].submission_id}, which was sent before")
        return str(before[-1].submission_id)
    job_id = job.id(max(map(number, before), default=0) + 1)
    try:
        patiently(
            lambda: client.submit_job(
                entrypoint=shlex.join(job.command),
                submission_id=job_id,
                runtime_env=job.runtime_env(),
                metadata=dict(job.metadata),
                entrypoint_num_cpus=job.asks.cpus or None,
                entrypoint_num_gpus=job.asks.gpus or None,
                entrypoint_resources=job.asks.custom or None,
            )
        )
    except (RuntimeError, ValueError, OSError) as error:
        raise StageError(f"{job_id} was not taken: {' '.join(str(error).split())}") from None
    console.print(f"submitted {job_id}")
    return job_id


def _attempt(client: "Client", job: Job, console: Console) -> "Outcome":
    from gr_vl.cluster.follow import follow

    return follow(client, _send(client, job, console), _write, _waits(client, console))


def _announce(outcome: "Outcome", seconds: float, console: Console) -> None:
    display.say(console, outcome.cause, "yellow", f"  {outcome.id}; again in {seconds:.0f} s")


def _conclude(outcome: "Outcome", console: Console) -> None:
    colour = "green" if outcome.exit_code == 0 else "red"
    first = outcome.message.strip().splitlines()[:1]
    note = f"  {first[0]}" if first else ""
    display.say(console, outcome.cause, colour, f"  {outcome.id}{note}")
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def _waits(client: "Client", console: Console) -> Any:
    """What tells, now and then, why a job has not started."""
    spoken, said = time.monotonic(), ""

    def tell(job: "JobDetails") -> None:
        nonlocal spoken, said
        if time.monotonic() - spoken >= (EXPLAIN_EVERY if said else EXPLAIN_EVERY / 3):
            spoken, now = time.monotonic(), _why(client, job)
            if now != said:
                said = now
                console.print(now)

    return tell


def _why(client: "Client", job: "JobDetails") -> str:
    from gr_vl.cluster.explain import Load, why_pending

    if str(job.status) == "PENDING":
        return f"PENDING: {why_pending(client, job)}"
    load = Load.read(client.fetch("/api/cluster_status"))
    waiting = f"; waits for {', '.join(load.waiting)}" if load.waiting else ""
    return f"cluster: {load.words()}{waiting}"


def _line(job: "JobDetails") -> str:
    end = (job.end_time or time.time() * 1000) / 1000
    seconds = end - (job.start_time or 0) / 1000
    code = f"  exit code {job.driver_exit_code}" if job.driver_exit_code else ""
    facts = job.metadata or {}
    return f"{job.status!s:<9}  {job.submission_id}  {seconds:.0f} s{code}  {facts.get('revision', '')[:12]}"


def _attempts(client: "Client", name: str | None) -> "list[JobDetails]":
    from gr_vl.cluster.client import attempts

    found = attempts(client, name)
    if name is not None and not found:
        raise ConfigError(f"ID={name!r}: the cluster has no such job; gr-vl jobs status lists them")
    return found


def _newest(client: "Client", name: str | None) -> str:
    if found := _attempts(client, name):
        return str(found[-1].submission_id)
    raise ConfigError("ID: the cluster has no job of gr-vl submit")


def _client(given: str | None, insecure: bool) -> "Client":
    url = address.dashboard(given, insecure=insecure)
    _need_ray()
    from gr_vl.cluster.client import connect

    return connect(url)


def _need_ray() -> None:
    extras.need("a Ray job", "ray", "tenacity", extra="train")


def _custom(items: list[str]) -> dict[str, float]:
    try:
        found = {name: float(amount) for name, _, amount in (item.partition("=") for item in items)}
    except ValueError:
        raise ConfigError(f"--resource {' '.join(items)}: must have the form NAME=NUMBER, for example disk=1") from None
    for name, amount in found.items():
        limits.above(f"--resource {name}", amount, reached=True)
    return found


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
