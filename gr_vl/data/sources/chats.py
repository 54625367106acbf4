"""Conversations of your own, as two common kinds of JSON lines: OpenAI messages and ShareGPT.

    {"id": ..., "messages": [{"role": "user", "content": ...}, {"role": "assistant", "content": ...}],
     "images": ["a.png"], "prompt_label": "harmful", "response_label": "unharmful"}

    {"id": ..., "conversations": [{"from": "human", "value": ...}, {"from": "gpt", "value": ...}],
     "image": "a.png", "prompt_label": ..., "response_label": ...}

One request and at most one response; a system message is passed over. `content` may be a list of text and image_url
parts with data URLs; addresses are not fetched. Where a row has pictures, `<image>` in the request marks their places,
as LLaMA-Factory and LLaVA write it: as many are cut out as there are pictures. Without pictures the letters stay. The
labels' names are ours: neither form has any.
"""

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import HARM_WORDS, SAFE_WORDS, Row, embedded, picture, text
from gr_vl.data.sources.convert import reader
from gr_vl.errors import Broken
from gr_vl.schema import Modality, Sample, Task

IMAGE = "<image>"
_WORDS = HARM_WORDS | SAFE_WORDS
_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def listed(row: Row, field: str) -> list[Any]:
    """A cell that is a list; a missing one is empty."""
    value = row.get(field)
    if value is None:
        return []
    if not isinstance(value, list):
        raise Broken(field, value, f"no list but a {type(value).__name__}")
    return value


def turns(row: Row, wanted: tuple[str, ...]) -> dict[str, str]:
    """The texts of messages that must have exactly these roles, in this order."""
    messages = [message for message in listed(row, "messages") if isinstance(message, Mapping)]
    roles = tuple(message.get("role") for message in messages)
    if roles != wanted:
        raise Broken("messages", list(roles), f"the roles are not {', '.join(wanted)}")
    return {message["role"]: text("messages", message.get("content")) for message in messages}


def cut_markers(prompt: str, images: int) -> str:
    """A request without the marks that stand for its pictures; where there are none, the letters are the user's."""
    if not images:
        return prompt
    if (marks := prompt.count(IMAGE)) not in (0, images):
        raise Broken("images", images, f"{images} pictures and {marks} marks {IMAGE}", "make them as many")
    return prompt.replace(IMAGE, "").strip() if marks else prompt


def _exchange(row: Row, field: str, who: str, what: str) -> tuple[Any, Any]:
    """The request's and the response's content, as they stand there."""
    said: list[tuple[str, Any]] = []
    for turn in listed(row, field):
        role = _ROLES.get(str(turn.get(who)).lower()) if isinstance(turn, Mapping) else None
        if role is None:
            raise Broken(field, turn, f"no turn of {', '.join(_ROLES)}")
        if role != "system":
            said.append((role, turn.get(what)))
    roles = [role for role, _ in said]
    if roles not in (["user"], ["user", "assistant"]):
        raise Broken(field, roles, "not one request and at most one response", "make each exchange a row")
    return said[0][1], said[1][1] if len(said) == 2 else None


def _parts(field: str, content: Any) -> tuple[str, list[bytes]]:
    """Text and embedded pictures of a message's content."""
    if not isinstance(content, list):
        return text(field, content), []
    texts, images = [], []
    for part in content:
        kind = part.get("type") if isinstance(part, Mapping) else None
        if kind == "text":
            texts.append(text(field, part.get("text")))
        elif kind == "image_url":
            images.append(_data_url(field, part.get("image_url")))
        else:
            raise Broken(field, part, "no part of type text or image_url")
    return "\n".join(texts), images


def _data_url(field: str, value: Any) -> bytes:
    url = value.get("url") if isinstance(value, Mapping) else value
    if not isinstance(url, str) or not url.startswith("data:"):
        raise Broken(field, url, "no data URL; addresses are not fetched", "embed the picture, or name a file")
    head, _, data = url.partition(",")
    try:
        return embedded(field, base64.b64decode(data, validate=True) if head.endswith(";base64") else b"")
    except binascii.Error as error:
        raise Broken(field, url, f"not base64 ({error})", "encode it again") from None


def pictures(row: Row, fields: Iterable[str] = ("image", "images")) -> list[bytes]:
    """The pictures that a row names or embeds, in its order."""
    found = []
    for field in fields:
        value = row.get(field)
        for one in value if isinstance(value, list) else [] if value is None else [value]:
            file = one.get("bytes") or one.get("path") if isinstance(one, Mapping) else one
            if not isinstance(file, str | bytes):
                raise Broken(field, one, "no picture and no path of one")
            found.append(picture(field, file, row.root) if isinstance(file, str) else embedded(field, file))
    return found


def _sample(row: Row, request: Any, answer: Any, field: str) -> Sample:
    prompt, images = _parts(field, request)
    images += pictures(row)
    prompt = cut_markers(prompt, len(images))
    if not prompt.strip() and not images:
        raise Broken(field, prompt, "an empty request")
    return row.sample(
        prompt,
        id=None if row.get("id") is None else row.own_id("id"),
        response=None if answer is None else _parts(field, answer)[0],
        images=tuple(images),
        prompt_label=row.maybe_label("prompt_label", _WORDS),
        response_label=row.maybe_label("response_label", _WORDS),
    )


def _openai(row: Row) -> Sample:
    return _sample(row, *_exchange(row, "messages", "role", "content"), "messages")


def _sharegpt(row: Row) -> Sample:
    return _sample(row, *_exchange(row, "conversations", "from", "value"), "conversations")


_FILES = "*.jsonl,*.jsonl.gz,*.json,*.json.gz,*.parquet"
_COMMON: dict[str, Any] = {
    "url": "your own",
    "licence": "your own",
    "tasks": (Task.PROMPT, Task.RESPONSE),
    "modalities": tuple(Modality),
}
SOURCES = (
    Source(
        name="openai_messages",
        title="OpenAI messages",
        layout="*.jsonl, .json, .parquet: messages, images, prompt_label, response_label",
        read=reader("openai_messages", _FILES, convert=_openai),
        **_COMMON,
    ),
    Source(
        name="sharegpt",
        title="ShareGPT",
        layout="*.jsonl, .json, .parquet: conversations, image or images, prompt_label, response_label",
        read=reader("sharegpt", _FILES, convert=_sharegpt),
        **_COMMON,
    ),
)
