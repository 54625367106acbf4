"""From a checked request to a watched run: the estimate, the question, the worker process and its progress."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.errors import ConfigError, DataError, StageError
from gr_vl.launch import State
from gr_vl.teacher import prompt
from gr_vl.teacher.budget import Cost, cost_of
from gr_vl.teacher.settings import Settings


@dataclass
class Estimate:
    """What a run costs at most if it starts from nothing."""

    samples: int = 0
    kept: int = 0
    images: int = 0
    prompt_tokens: int = 0
    problems: Counter[str] = field(default_factory=Counter)
    most: Cost = field(default_factory=Cost)
    """If every sample takes one reply of the greatest length; with N attempts it can be N times that and a little."""


def estimate(settings: Settings) -> Estimate:
    """Count the whole corpus without a call."""
    found, dialect = Estimate(), dialects.get(settings.dialect)
    for sample in io.iterate(settings.source):
        found.samples += 1
        if sample.reasoning:
            found.kept += 1
            continue
        try:
            tokens = prompt.request(sample, dialect, settings).prompt_tokens
        except DataError as error:
            found.problems[str(error)] += 1
            continue
        found.images += len(sample.images)
        found.prompt_tokens += tokens
        found.most += cost_of(tokens, settings.max_tokens, settings)
    return found


def states(settings: Settings) -> Iterator[State]:
    """Run the worker and yield its progress. Raises its errors; closing this waits for the calls in flight."""
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "gr_vl.teacher.worker"]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
    assert worker.stdin is not None
    assert worker.stdout is not None
    error: dict[str, Any] = {}
    try:
        with suppress(BrokenPipeError):  # it ended at once, and its exit code tells
            worker.stdin.write(json.dumps(settings.to_json()).encode() + b"\n")
            worker.stdin.flush()
        for line in worker.stdout:
            row = json.loads(line)
            if "error" in row:
                error = row
            else:
                yield State(row["done"], row["total"], _note(row), row["peak_rss_gb"])
    except (KeyboardInterrupt, SystemExit):
        sys.stderr.write("stopping when the calls in flight have ended; interrupt again to leave them to themselves\n")
        raise
    finally:
        with suppress(BrokenPipeError):
            worker.stdin.close()
        worker.wait()
    if error:
        raise (ConfigError if error["mistake"] else StageError)(error["error"])
    if worker.returncode:
        raise StageError(f"the worker ended with code {worker.returncode}; run again to go on")


def _note(row: dict[str, Any]) -> str:
    words = [f"{row['calls']} calls", f"{row['tokens']:,} tokens"]
    words += [f"${row['usd']:.4f}"] if row["usd"] else []
    words += [f"{row['quarantined']} quarantined"] if row["quarantined"] else []
    words += [f"{row['lost']} lost"] if row["lost"] else []
    return ", ".join(words)


def described(found: Estimate, settings: Settings) -> list[str]:
    """The estimate in words."""
    todo = found.samples - found.kept - found.problems.total()
    lines = [f"{found.samples:,} samples: {todo:,} to ask for, {found.kept:,} with reasoning, {found.images:,} images"]
    lines += [f"  {number:,} cannot be asked for: {why}" for why, number in found.problems.most_common(5)]
    money = (
        f" and ${found.most.usd:,.2f}" if settings.price_in is not None else " (money: give --price-in, --price-out)"
    )
    lines.append(
        f"at most {found.most.tokens:,} tokens{money} for one reply each, {found.prompt_tokens:,} of them prompts; "
        f"refused replies can take that {settings.attempts} times"
    )
    if settings.journal.is_file():
        lines.append(f"goes on with {settings.journal}; what is answered there costs nothing again")
    return lines


def results(settings: Settings) -> list[str]:
    """The summary in words."""
    found = json.loads(settings.summary.read_text())
    taught = found["total"] - found["quarantined"] - found["kept"]
    reasons = ", ".join(f"{reason} {number}" for reason, number in found["reasons"].items())
    lines = [f"{taught:,} taught, {found['kept']:,} kept as they were: {settings.out}"]
    if found["lost"]:
        lines.append(f"{found['lost']:,} calls broke off: they may have been served, and are counted at their most")
    if reasons:
        lines.append(f"{found['quarantined']:,} in quarantine ({reasons}): {settings.quarantine}")
    return lines
