"""Content of a chat message: images as data URLs, and text without power over the template."""

import base64
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

_SIGNATURES = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"RIFF": "image/webp"}
# A server with an open model may read these letters as the end of a turn.
_CONTROL = re.compile(r"<(?=\|\w+\|>)")


def spoken(parts: Iterable[Mapping[str, Any]], images: Iterator[bytes]) -> list[dict[str, Any]]:
    """A dialect's content parts as chat APIs take them; its image parts take the next of the encoded images."""
    return [
        image_part(next(images))
        if part["type"] == "image"
        else {"type": "text", "text": _CONTROL.sub("< ", part["text"])}
        for part in parts
    ]


def image_part(data: bytes) -> dict[str, Any]:
    """An encoded image as a content part."""
    kind = next(kind for signature, kind in _SIGNATURES.items() if data.startswith(signature))
    return {"type": "image_url", "image_url": {"url": f"data:{kind};base64,{base64.b64encode(data).decode()}"}}
