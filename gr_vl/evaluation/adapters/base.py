"""What an adapter is: how one family of guards is asked about a sample, and how its replies are read."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gr_vl.dialects import Message
from gr_vl.schema import FailureReason, ParseFailure, Sample, Verdict

Reader = Callable[[Sequence[str]], Verdict | ParseFailure]
NOT_JUDGED = ParseFailure(FailureReason.EMPTY)
"""The outcome of a sample that a guard is never asked about, such as an image where it reads text alone."""


@dataclass(frozen=True)
class Call:
    """One request about a sample."""

    messages: list[Message]
    """Chat messages; image parts are place holders for `sample.images`, in order."""
    images: tuple[bytes, ...] = ()
    """The images of the place holders."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the request's body."""


class Adapter(Protocol):
    """How one family of guards is asked and read."""

    def calls(self, sample: Sample) -> list[Call]:
        """The requests that judge a sample; none when the guard cannot judge it."""
        ...

    def read(self, texts: Sequence[str]) -> Verdict | ParseFailure:
        """The replies to all calls, in order, as one verdict. Total: all strings have an outcome."""
        ...


def user(text: str, images: int = 0) -> Message:
    """A user's turn, images first."""
    return {"role": "user", "content": [*[{"type": "image"}] * images, {"type": "text", "text": text}]}


def assistant(text: str) -> Message:
    """The turn of the assistant that is judged."""
    return {"role": "assistant", "content": [{"type": "text", "text": text}]}


def conversation(sample: Sample) -> list[Call]:
    """The request alone, and then the whole exchange where there is a response: what guards judge by their last turn.

    The guard's own prompt is in the chat template that its checkpoint ships.
    """
    asked = user(sample.prompt, len(sample.images))
    turns = [[asked]] if sample.response is None else [[asked], [asked, assistant(sample.response)]]
    return [Call(turn, sample.images) for turn in turns]
