"""What a server's refusal is about: this moment, what one request asks about, or what every request holds.

Codes decide where there are any, since servers agree on statuses less than on those: a filter answers 400 or 403, an
unknown model 400 or 404. Without a code, a 400, 413, 415 or 422 can be either of the last two.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from gr_vl.data.text import whole


class Kind(StrEnum):
    """What is refused."""

    PASSING = "passing"
    """Nothing: the server is busy or broken, and the same request may be answered later."""
    SAMPLE = "sample"
    """What this request asks about: it is too long, or a filter stops it."""
    SETTINGS = "settings"
    """What every request holds: key, model, a field of the form."""
    UNCLEAR = "unclear"
    """One of the last two."""


@dataclass(frozen=True)
class Refusal:
    """A refusal, classified."""

    status: int
    kind: Kind
    param: str
    """The field of the request that it names, if any."""
    words: str
    """What the server said, on one line."""


_WORDS = 200
_EITHER = (400, 413, 415, 422)
_PASSES = (408, 409, 429)
# All are looked for in codes and types, never in a message, which may quote the sample.
_SAMPLE = re.compile(
    r"context_(length|size)|content_(filter|policy)|policy_?violation|above_max_length|invalid_prompt|image|moderation|"
    r"data_inspection|request_too_large"
)
_SETTINGS = re.compile(
    r"^(unsupported|unknown|unrecognized)_(param|value|argument|url|country)|model_(not|un)|(unknown|invalid)_?model|"
    r"deployment|api_key|authenticat|permission"
)
_MONEY = re.compile(r"insufficient_(quota|balance|funds)|billing")
_BUSY = re.compile(r"rate_limit|overload|server_error|unavailable|timeout|capacity")


def refusal(status: int, body: Any) -> Refusal:
    """What a status and the decoded body beside it mean; the body may be anything."""
    error = _error(body)
    inner = error.get("innererror")
    codes = [error.get("code"), error.get("type"), inner.get("code") if isinstance(inner, dict) else None]
    names = [code.lower() for code in codes if isinstance(code, str)]
    # Some proxies answer 200, and state the upstream's status as the code.
    code = error.get("code")
    if status < 300:
        busy = any(_BUSY.search(name) for name in names)
        status = code if type(code) is int and 400 <= code < 600 else 503 if busy else 400
    param = _param(error)
    return Refusal(status, _kind(status, names, param, error), param, _said(error))


def _kind(status: int, names: list[str], param: str, error: dict[str, Any]) -> Kind:
    def says(pattern: re.Pattern[str]) -> bool:
        return any(pattern.search(name) for name in names)

    if status >= 500 or (status in _PASSES and not says(_MONEY)):
        return Kind.PASSING
    metadata = error.get("metadata")
    if status != 401 and (says(_SAMPLE) or (isinstance(metadata, dict) and "flagged_input" in metadata)):
        return Kind.SAMPLE
    if status not in _EITHER or param in ("model", "temperature"):
        return Kind.SETTINGS
    # An image for a model that reads text alone is a value of some requests' content.
    about = says(_SETTINGS) or says(_MONEY) or (isinstance(error.get("detail"), list) and bool(param))
    return Kind.SETTINGS if about and "content" not in param else Kind.UNCLEAR


def _error(body: Any) -> dict[str, Any]:
    """The object that describes the error, wherever the server put it."""
    if isinstance(body, list) and body:
        body = body[0]
    if not isinstance(body, dict):
        return {"message": body}
    error = body.get("error", body)
    if not isinstance(error, dict):
        return {"message": error, "type": body.get("error_type")}
    message = error.get("message")
    return error | message if isinstance(message, dict) and "detail" in message else error


def _param(error: dict[str, Any]) -> str:
    """The field named as OpenAI does, or by the first finding of a validation."""
    if isinstance(error.get("param"), str):
        return str(error["param"])
    detail = error.get("detail")
    first = detail[0] if isinstance(detail, list) and detail else None
    path = first.get("loc") if isinstance(first, dict) else None
    return ".".join(str(step) for step in path if step != "body") if isinstance(path, list) else ""


def _said(error: dict[str, Any]) -> str:
    found = error.get("detail") or error.get("message") or ""
    return line(found if isinstance(found, str) else str(found))


def line(text: str) -> str:
    """Somebody else's text on one line of a terminal: printable, and short."""
    printable = "".join(letter if letter.isprintable() else " " for letter in whole(text[: 10 * _WORDS]))
    return " ".join(printable.split())[:_WORDS]
