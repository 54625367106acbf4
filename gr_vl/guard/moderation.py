"""What a guard in use is asked and what it answers. An answer that cannot be read counts as harmful."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gr_vl.data import images
from gr_vl.dialects import Dialect
from gr_vl.errors import DataError
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task

MAX_IMAGES = 16
MAX_CHARACTERS = 400_000
"""Of a prompt and its response: more than any context holds, and little enough to be tokenised in a moment."""


@dataclass(frozen=True)
class Exchange:
    """What a user sent, and what an assistant replied if it did."""

    prompt: str = ""
    images: tuple[bytes, ...] = ()
    """Encoded image files, in the order in which they were sent."""
    response: str | None = None
    think: bool = True
    """Whether the guard reasons before it judges, or goes straight to the result block."""

    def __post_init__(self) -> None:
        if not self.prompt and not self.images and self.response is None:
            raise DataError("exchange: nothing to judge; give a prompt, an image or a response")
        if (size := len(self.prompt) + len(self.response or "")) > MAX_CHARACTERS:
            raise DataError(f"exchange: {size:,} characters exceed the limit of {MAX_CHARACTERS:,}; shorten it")
        if len(self.images) > MAX_IMAGES:
            raise DataError(f"exchange: {len(self.images)} images exceed the limit of {MAX_IMAGES}; send fewer")
        for data in self.images:
            images.size(data)

    @property
    def sample(self) -> Sample:
        """The exchange as the dialects take it."""
        return Sample("", "", self.prompt, self.response, self.images)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """The questions that this exchange poses: without a response, the one about the prompt alone."""
        return (Task.PROMPT,) if self.response is None else tuple(Task)


@dataclass(frozen=True)
class Written:
    """What a guard wrote about one exchange, and what that took."""

    text: str
    """Without thinking, the result block that its labels make."""
    finished: bool
    """Whether the guard ended its answer, and not the limit of tokens."""
    prompt_tokens: int
    tokens: int
    """Tokens that the guard chose: all it wrote, or those of the labels alone when it did not think."""
    seconds: float
    """From the start of the batch that it was part of to its end."""


@dataclass(frozen=True)
class Moderation:
    """A guard's judgement of one exchange."""

    labels: Mapping[Task, Label]
    """One for each task that the exchange poses and the dialect knows."""
    scores: Mapping[Task, float]
    """p(positive label) / (p(positive label) + p(its opposite)) at the place where the guard states the label, each
    the probability of the label's whole token sequence after the prompt and all that the guard wrote before it.
    1 where the answer could not be read."""
    reasoning: str
    failure: FailureReason | None
    """Why the answer holds no verdict; every label then is its task's positive one. None when it holds one."""
    written: Written

    @property
    def flagged(self) -> bool:
        """Whether anything is harmful."""
        return Label.HARMFUL in self.labels.values()

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values."""
        return {
            "flagged": self.flagged,
            "labels": {str(task): str(label) for task, label in self.labels.items()},
            "scores": {str(task): score for task, score in self.scores.items()},
            "reasoning": self.reasoning,
            "failure": None if self.failure is None else str(self.failure),
            "tokens": self.written.tokens,
            "seconds": round(self.written.seconds, 4),
        }


Outcome = Moderation | DataError
"""A judgement, or why there is none."""


def judged(dialect: Dialect, exchange: Exchange, written: Written, scores: Mapping[Task, float]) -> Moderation:
    """What an answer says about an exchange. It fails closed: without a verdict, all that was asked is harmful."""
    tasks = [task for task in dialect.tasks if task in exchange.tasks]
    verdict = dialect.parse(written.text)
    if isinstance(verdict, ParseFailure):
        worst = {task: positive(task) for task in tasks}
        return Moderation(worst, dict.fromkeys(tasks, 1.0), verdict.reasoning, verdict.reason, written)
    labels = {task: verdict.labels[task] for task in tasks}
    return Moderation(labels, {task: scores[task] for task in tasks}, verdict.reasoning, None, written)


def positive(task: Task) -> Label:
    """The label whose probability a score is, and which an unreadable answer gets."""
    return Label.HARMFUL


def image_of_data_url(url: str) -> bytes:
    """The bytes of `data:image/...;base64,...`. Raises DataError for any other URL: nothing is fetched."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise DataError(f"image_url {url[:40]!r}: must be data:image/...;base64,...; embed the file")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise DataError(f"image_url: no base64 ({error}); encode the file again") from None
