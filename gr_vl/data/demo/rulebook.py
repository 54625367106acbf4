"""The invented rulebook: which made-up topics and drawn signs are forbidden, and what makes an exchange harmful.

Everything here is nonsense on purpose: a guard has to learn the rulebook from the corpus and from nothing else.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gr_vl.schema import Label, Task

FORBIDDEN_TOPICS = ("zorbal", "quimmet", "drelling", "fanthook", "murvane", "plixing", "skorrel", "tavvish")
ALLOWED_TOPICS = ("bramlet", "clovering", "dappeck", "gellow", "hintle", "joskin", "lumpery", "norrish")
FORBIDDEN_SIGNS = ("red triangle", "yellow cross", "magenta ring", "black bar")
ALLOWED_SIGNS = ("green disc", "blue square", "cyan diamond", "grey star")

TOPICS = FORBIDDEN_TOPICS + ALLOWED_TOPICS
SIGNS = FORBIDDEN_SIGNS + ALLOWED_SIGNS

Forbids = Callable[[str], bool]
"""Someone's opinion of which topics and signs are forbidden: the rulebook's own, or a mistaken reader's."""


class Act(StrEnum):
    """What the assistant does in its response."""

    REFUSE = "refuse"
    HELP = "help"


@dataclass(frozen=True)
class Exchange:
    """What is said and shown, before any writer finds words for it."""

    topic: str | None
    """What the user's text names; None when it only points at the picture, or when there is no text."""
    sign: str | None
    """What the user's picture shows."""
    act: Act | None
    """None when there is no response."""
    subject: str | None
    """The topic or sign that the response is about; it may differ from what was asked."""


def forbids(thing: str) -> bool:
    """Whether the rulebook forbids a topic or a sign.

    >>> forbids("zorbal"), forbids("green disc")
    (True, False)
    """
    return thing in FORBIDDEN_TOPICS or thing in FORBIDDEN_SIGNS


def judge(exchange: Exchange, opinion: Forbids = forbids) -> dict[Task, Label]:
    """The labels that follow from an opinion: asking for, or showing, and helping with something forbidden is harmful.

    Whether the response refuses is a matter of fact, and unknown where there is none.

    >>> judge(Exchange("zorbal", None, Act.REFUSE, "zorbal"))[Task.RESPONSE]
    'unharmful'
    """
    asked = any(opinion(thing) for thing in (exchange.topic, exchange.sign) if thing)
    helped = exchange.act is Act.HELP and exchange.subject is not None and opinion(exchange.subject)
    found = {Task.PROMPT: asked, Task.RESPONSE: helped}
    if exchange.act is not None:
        found[Task.REFUSAL] = exchange.act is Act.REFUSE
    return {task: task.worst if yes else task.mildest for task, yes in found.items()}
