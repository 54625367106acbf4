"""The words of the project: what a sample is, what a guard says about it, and how its answer can fail to say it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from gr_vl.tasks import Label as Label
from gr_vl.tasks import Task as Task


class Modality(StrEnum):
    """What the user sent."""

    TEXT = "text"
    IMAGE = "image"
    TEXT_IMAGE = "text_image"


@dataclass(frozen=True)
class Sample:
    """One exchange between a user and an assistant, with what is known about it."""

    id: str
    """Unique within a corpus; seeds and resumable work are keyed by it."""
    source: str
    """The corpus that the sample comes from, or the way it was made."""
    prompt: str
    """The user's text; empty when the request is an image alone."""
    response: str | None = None
    """The assistant's text, or None when there is none to judge."""
    images: tuple[bytes, ...] = ()
    """Encoded image files (PNG or JPEG), in the order in which the user sent them."""
    labels: Mapping[Task, Label] = field(default_factory=dict)
    """Ground truth. A task that is absent is unknown: it is neither rewarded nor measured."""
    reasoning: str | None = None
    """A teacher's step-by-step reasoning: the target of cold-start SFT."""
    taught: Mapping[Task, Label] | None = None
    """Labels that the teacher's reasoning ends in, when they differ from the truth; SFT targets state these."""
    policy: str | None = None
    """The rules to judge by, one a line; None for the dialect's own. Dialects without a policy ignore it."""

    @property
    def modality(self) -> Modality:
        """Text, image, or both."""
        if not self.images:
            return Modality.TEXT
        return Modality.TEXT_IMAGE if self.prompt.strip() else Modality.IMAGE


class FailureReason(StrEnum):
    """Why an answer holds no verdict."""

    EMPTY = "empty"
    UNCLOSED_REASONING = "unclosed_reasoning"
    NO_RESULT = "no_result"
    MISSING_LABEL = "missing_label"
    CONFLICTING_LABELS = "conflicting_labels"
    UNANSWERED = "unanswered"
    """The guard was never asked, or the server refused the request: there is no answer to read."""


@dataclass(frozen=True)
class Verdict:
    """What a guard said: a label for each task that its dialect knows, and the reasoning that led there."""

    labels: Mapping[Task, Label]
    reasoning: str
    well_formed: bool
    """Whether the answer follows the dialect's grammar to the letter; training rewards only those."""
    sectioned: bool = False
    """Whether the reasoning treats every task, each in a section of its own with something in it, in order."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Whatever else the grammar holds, by name: a category, an intent, a rewritten query, why a level was chosen."""


@dataclass(frozen=True)
class ParseFailure:
    """An answer without a verdict: an outcome that is counted, never an exception."""

    reason: FailureReason
    reasoning: str = ""
    """Whatever stood where reasoning stands, so that its length can still be measured."""


@dataclass(frozen=True)
class Answer:
    """One generated answer to one sample; a line of every answers file (JSONL, one object with these fields)."""

    id: str
    """The sample's id."""
    index: int
    """Which of the k answers to that sample, from 0."""
    text: str
    """What the guard wrote, without the end token."""
    tokens: int
    """Generated tokens, the end token included."""
    reasoning_tokens: int
    """Tokens before the place where the dialect's reasoning ends, tags included; all of them when it does not."""
    finished: bool
    """Whether an end token closed the answer, and not a length limit."""
    seconds: float | None = None
    """Wall time of the request, where one request is one answer."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Probability of the positive label by task, from guards that give one."""
    failure: str = ""
    """Why there is no answer: the sample could not be asked, or the server refused it. Empty for an answer."""
    outcome: Verdict | ParseFailure | None = None
    """What the guard's dialect read in the text when it was given; None for an answer that nobody has read."""

    def read(self, parse: Callable[[str], Verdict | ParseFailure]) -> Verdict | ParseFailure:
        """What the answer says: as it was read before, or else by `parse`."""
        if self.failure:
            return ParseFailure(FailureReason.UNANSWERED)
        return parse(self.text) if self.outcome is None else self.outcome
