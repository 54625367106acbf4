"""Texts that may hold anything: half a character in them, and JSON of any depth."""

import json
import re
from typing import Any

_SURROGATES = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """The text with U+FFFD, the sign for a broken character, in place of every lone surrogate.

    Neither files nor tokenizers take those. NUL, bidi controls and all else are characters like others and stay.

    >>> whole("a\\ud83d b\\x00") == "a\\ufffd b\\x00"
    True
    """
    return _SURROGATES.sub("\ufffd", text)


def decoded(data: bytes) -> str:
    """The text of bytes in UTF-8, -16 or -32, as their first ones say; what is no character becomes U+FFFD.

    >>> decoded("a".encode("utf-16")), decoded(b"\\xef\\xbb\\xbfa\\xff")
    ('a', 'a\ufffd')
    """
    return data.decode(json.detect_encoding(data), "replace")


def parse_json(text: str | bytes) -> Any:
    """The value that stands there; bytes are decoded first.

    Raises ValueError for all that is no JSON, whereas `json.loads` raises RecursionError for a wall of brackets.

    >>> parse_json("[" * 200_000)
    Traceback (most recent call last):
    ValueError: nested too deeply
    """
    try:
        return json.loads(decoded(text) if isinstance(text, bytes) else text)
    except RecursionError:
        raise ValueError("nested too deeply") from None
