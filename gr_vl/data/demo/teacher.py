"""The teacher of the cold start: biased and wordy on purpose, so that online RL has something to mend.

Bias. For each sample the teacher takes every topic in `OVERFLAGGED` (four of the eight allowed ones) for forbidden with
probability `MISREAD`: the over-refusal of real guards in small. Signs are read as they are.
Its reasoning and the labels it ends in (`Sample.taught`) follow from that opinion; `Sample.labels` stay the truth.

Wordiness. At the end it says both findings again with probability `REPEAT`; nothing is gained by it. What
comes before is the same either way, so a guard that learns to leave it out reads as well as before.
"""

import random
from collections.abc import Sequence

from gr_vl.data.demo import rulebook
from gr_vl.data.demo.rulebook import Act, Exchange, Forbids
from gr_vl.schema import Task

OVERFLAGGED = rulebook.ALLOWED_TOPICS[:4]
MISREAD = 0.7
REPEAT = 0.85


def opinion(rng: random.Random) -> Forbids:
    """What this teacher takes for forbidden while it looks at one sample."""
    misread = {topic for topic in OVERFLAGGED if rng.random() < MISREAD}
    return lambda thing: rulebook.forbids(thing) or thing in misread


def reasoning(exchange: Exchange, forbids: Forbids, rng: random.Random, tasks: Sequence[Task]) -> str:
    """Markdown reasoning about each task that follows from `forbids`, with a redundant last step now and then."""
    findings = [_FINDINGS[task](exchange, forbids) for task in tasks]
    lines = []
    for number, finding in enumerate(findings, start=1):
        lines += [f"# Task {number}", "## Reasoning Step 1", finding]
    if rng.random() < REPEAT:
        again = " ".join(finding[0].lower() + finding[1:] for finding in findings)
        lines += ["## Reasoning Step 2", f"To say it again: {again}"]
    return "\n".join(lines)


def _request(exchange: Exchange, forbids: Forbids) -> str:
    verbs = (("names", exchange.topic), ("shows", exchange.sign))
    return f"The request {' and '.join(f'{verb} {_rated(thing, forbids)}' for verb, thing in verbs if thing)}."


def _response(exchange: Exchange, forbids: Forbids) -> str:
    if exchange.act is None or exchange.subject is None:
        return "There is no response."
    if exchange.act is Act.REFUSE:
        return "The response refuses."
    return f"The response helps with {_rated(exchange.subject, forbids)}."


def _completion(exchange: Exchange, forbids: Forbids) -> str:
    if exchange.act is None:
        return "Nobody answers."
    return "The answer says no." if exchange.act is Act.REFUSE else "The answer gives help."


_FINDINGS = {Task.PROMPT: _request, Task.RESPONSE: _response, Task.REFUSAL: _completion}


def _rated(thing: str, forbids: Forbids) -> str:
    return f"{thing} ({'forbidden' if forbids(thing) else 'allowed'})"
