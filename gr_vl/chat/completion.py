"""What a server sent with status 200, as values that can be written down and read back.

Servers depart from the protocol: content comes as a list of parts (those of type `text` are the text, what a model
thinks is not), as null beside tool calls or reasoning (an empty text), or as something that is no text at all.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gr_vl.data.text import parse_json, whole


class UnreadableError(Exception):
    """A body that is no chat completion."""


@dataclass(frozen=True)
class Token:
    """A token of the completion, and the log-probabilities of the likeliest in its place."""

    text: str
    likeliest: Mapping[str, float]


@dataclass(frozen=True)
class Completion:
    """One completion."""

    text: str
    finish: str
    """`stop` when the model ended it; `None`, the word, when the server does not say."""
    used: tuple[int, int] | None
    """Tokens of prompt and completion, if the server counted them."""
    tokens: tuple[Token, ...] = ()
    """With log-probabilities, if they were asked for and came."""


def decoded(body: bytes) -> Any:
    """The JSON value of a body. Raises UnreadableError."""
    try:
        return parse_json(body)
    except ValueError:
        raise UnreadableError("its body is no JSON") from None


def read(found: Any) -> Completion:
    """The first choice of a decoded body. Raises UnreadableError, and nothing else, when there is none to read."""
    choices = found.get("choices") if isinstance(found, dict) else None
    if not isinstance(choices, list) or not choices:
        raise UnreadableError("it has no choices")
    choice = choices[0]
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        raise UnreadableError("its choice has no message")
    return Completion(
        _text(message.get("content")), str(choice.get("finish_reason")), _used(found), _tokens(choice.get("logprobs"))
    )


def _text(content: Any) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return whole(content)
    if isinstance(content, list):
        parts: list[Any] = [
            part.get("text") for part in content if isinstance(part, dict) and part.get("type") == "text"
        ]
        if all(isinstance(part, dict) for part in content) and all(isinstance(part, str) for part in parts):
            return whole("".join(parts))
    raise UnreadableError(f"its content is of type {type(content).__name__} and holds no text")


def _used(found: dict[str, Any]) -> tuple[int, int] | None:
    usage = found.get("usage")
    if not isinstance(usage, dict):
        return None
    read, wrote = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return (read, wrote) if type(read) is type(wrote) is int and read >= 0 and wrote >= 0 else None


def _tokens(logprobs: Any) -> tuple[Token, ...]:
    listed = logprobs.get("content") if isinstance(logprobs, dict) else None
    try:
        return tuple(
            Token(str(row["token"]), {str(top["token"]): float(top["logprob"]) for top in row["top_logprobs"]})
            for row in listed or ()
        )
    except (KeyError, TypeError, ValueError):
        return ()
