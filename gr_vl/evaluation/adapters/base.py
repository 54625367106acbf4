"""What an adapter is: how one family of guards is asked about a sample, and how its replies are read."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gr_vl.dialects import Message
from gr_vl.dialects.lines import lines
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


# What models end a turn with, and servers leave in the text that were not asked to skip special tokens.
_END = re.compile(
    r"<\|(?:eot_id|eom_id|eot|end_of_text|endoftext|im_end|end|end_of_turn|return)\|>|<end_of_turn>|<eos>|</s>"
)


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


def reply(text: str) -> str:
    r"""What a guard wrote, to the end of its turn, with \n for every line ending; tokens in <think> end nothing.

    >>> reply("safe<|eot_id|>")
    'safe'
    """
    thought, closed, said = lines(text).rpartition("</think>")
    return thought + closed + _END.split(said, maxsplit=1)[0]


def verdicts(texts: Iterable[str]) -> list[str] | ParseFailure:
    """Of each reply what stands after its reasoning: nothing in <think> is a verdict, nor after one that stays open."""
    said = [reply(text).rpartition("</think>")[2] for text in texts]
    if not said:
        return NOT_JUDGED
    if any("<think>" in text for text in said):
        return ParseFailure(FailureReason.UNCLOSED_REASONING, "\n".join(said))
    return said
