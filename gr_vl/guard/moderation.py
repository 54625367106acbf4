"""What a guard in use is asked and what it answers. An answer that cannot be read counts as harmful."""

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gr_vl import limits
from gr_vl.data import images
from gr_vl.dialects import Dialect
from gr_vl.encoding import Encoder
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict

MAX_IMAGES = 16
MAX_CHARACTERS = 400_000
"""Of a prompt, its response and a policy: more than any context holds, and tokenised in a moment."""


@dataclass(frozen=True)
class Exchange:
    """What a user sent, and what an assistant replied if it did."""

    prompt: str = ""
    images: tuple[bytes, ...] = ()
    """Encoded image files, in the order in which they were sent."""
    response: str | None = None
    think: bool = True
    """Whether the guard reasons before it judges, or goes straight to the result block."""
    policy: str | None = None
    """The rules to judge by, one a line, for dialects that take them; None for the dialect's own."""

    def __post_init__(self) -> None:
        if not self.prompt and not self.images and self.response is None:
            raise DataError("exchange: nothing to judge; give a prompt, an image or a response")
        if self.policy is not None and not self.policy.strip():
            raise DataError("policy: is blank, and nothing breaks no rules; name a rule, or leave it out")
        if (size := len(self.prompt) + len(self.response or "") + len(self.policy or "")) > MAX_CHARACTERS:
            raise DataError(f"exchange: {size:,} characters exceed the limit of {MAX_CHARACTERS:,}; shorten it")
        if len(self.images) > MAX_IMAGES:
            raise DataError(f"exchange: {len(self.images)} images exceed the limit of {MAX_IMAGES}; send fewer")
        # Together: they are decoded at once, and a flat picture of many megapixels is a small file.
        if (pixels := sum(math.prod(images.size(data)) for data in self.images)) > images.MAX_PIXELS:
            limit = f"the limit of {images.MAX_PIXELS:,} for an exchange"
            raise DataError(f"exchange: images of {pixels:,} pixels together exceed {limit}; scale them down")

    @property
    def sample(self) -> Sample:
        """The exchange as the dialects take it."""
        return Sample("", "", self.prompt, self.response, self.images, policy=self.policy)

    def poses(self, task: Task) -> bool:
        """Whether there is something to judge."""
        return self.response is not None or not task.needs_response


@dataclass(frozen=True)
class Question:
    """One prompt to the guard. A dialect may need several to judge an exchange."""

    sample: Sample
    stated: tuple[Task, ...]
    """The tasks that an answer settles."""
    tasks: tuple[Task, ...]
    """Those of them that the exchange poses."""


def questions(dialect: Dialect, exchange: Exchange) -> list[Question]:
    """What to ask about an exchange, in order. DataError when it has a policy and the dialect takes none."""
    if exchange.policy is not None:
        check_policy(dialect)
    found = [
        Question(sample, stated, tuple(filter(exchange.poses, stated)))
        for sample, stated in dialect.questions(exchange.sample)
    ]
    return [question for question in found if question.tasks]


def check_policy(dialect: Dialect) -> None:
    """DataError when guards of this dialect judge by rules of their own."""
    if not dialect.takes_policy:
        raise DataError("policy: this guard judges by its own rules; leave it out, or take a guard of dialect rsafe")


def check_room(encoder: Encoder, max_tokens: int, positions: int | None) -> None:
    """ConfigError when an answer of `max_tokens` leaves no room for any exchange in the model's positions."""
    limits.count("max_tokens", max_tokens)
    if positions is None:
        return
    shortest = max(len(encoder.prompt(one.sample).ids) for one in questions(encoder.dialect, Exchange("a")))
    if max_tokens > (room := positions - shortest):
        fix = f"use at most {room:,}" if room > 0 else "take another model"
        raise ConfigError(
            f"max_tokens={max_tokens} (--max-tokens): of the model's {positions:,} positions the shortest prompt takes "
            f"{shortest:,}; {fix}"
        )


@dataclass(frozen=True)
class Written:
    """What a guard wrote about one exchange, and what that took. Several answers are joined by a blank line."""

    text: str
    """Without thinking, the result block that its labels make."""
    finished: bool
    """Whether the guard ended its answer, and not the limit of tokens."""
    prompt_tokens: int
    tokens: int
    """Tokens that the guard chose: all it wrote, or those of the labels alone when it did not think."""
    seconds: float
    """From the start of the batch that it was part of to its end; the longest of several answers."""


@dataclass(frozen=True)
class Moderation:
    """A guard's judgement of one exchange."""

    labels: Mapping[Task, Label]
    """One for each task that the exchange poses and the dialect knows."""
    scores: Mapping[Task, float]
    """p(positive labels) / p(all labels of the task) at the place where the guard states the label, each the
    probability of the label's whole token sequence after the prompt and all that the guard wrote before it. 1 where
    the answer could not be read."""
    reasoning: str
    failure: FailureReason | None
    """Why an answer holds no verdict; the labels that it owes are then the tasks' worst ones. None when all do."""
    written: Written

    @property
    def flagged(self) -> bool:
        """Whether anything is harmful."""
        return any(task.harm and label in task.positives for task, label in self.labels.items())

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


def judged(dialect: Dialect, question: Question, written: Written, scores: Mapping[Task, float]) -> Moderation:
    """What an answer says to a question. It fails closed: every label is its task's worst one without a verdict,
    where it says None of what is there to be judged, and where a score is no finite number."""
    tasks, verdict = question.tasks, dialect.parse(written.text)
    if isinstance(verdict, Verdict) and all(map(math.isfinite, scores.values())) and _says(dialect, tasks, written):
        labels = {task: verdict.labels[task] for task in tasks}
        return Moderation(labels, {task: scores[task] for task in tasks}, verdict.reasoning, None, written)
    worst = {task: task.worst for task in tasks}
    reason = verdict.reason if isinstance(verdict, ParseFailure) else FailureReason.MISSING_LABEL
    return Moderation(worst, dict.fromkeys(tasks, 1.0), verdict.reasoning, reason, written)


def _says(dialect: Dialect, tasks: Sequence[Task], written: Written) -> bool:
    """Whether an answer with a verdict states a label of each task, and not None, which a dialect may read as one."""
    places = dialect.places(written.text)
    return all(written.text[slice(*places[task])].lower() != "none" for task in tasks)


def joined(parts: Sequence[Moderation]) -> Moderation:
    """The judgement of an exchange from those of its questions."""
    if len(parts) == 1:
        return parts[0]
    written = [part.written for part in parts]
    return Moderation(
        {task: label for part in parts for task, label in part.labels.items()},
        {task: score for part in parts for task, score in part.scores.items()},
        "\n\n".join(part.reasoning for part in parts if part.reasoning),
        next((part.failure for part in parts if part.failure is not None), None),
        Written(
            "\n\n".join(one.text for one in written),
            all(one.finished for one in written),
            sum(one.prompt_tokens for one in written),
            sum(one.tokens for one in written),
            max(one.seconds for one in written),
        ),
    )


def image_of_data_url(url: str) -> bytes:
    """The bytes of `data:image/...;base64,...`. Raises DataError for any other URL: nothing is fetched."""
    head, comma, body = url.partition(",")
    if not comma or not head.startswith("data:image/") or not head.endswith(";base64"):
        raise DataError(f"image_url {url[:40]!r}: must be data:image/...;base64,...; embed the file")
    try:
        return base64.b64decode(body, validate=True)
    except ValueError as error:
        raise DataError(f"image_url: no base64 ({error}); encode the file again") from None
