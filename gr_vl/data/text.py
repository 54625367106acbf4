"""Texts that may hold anything: half a character in them, and JSON of any depth."""

import json
import re
from typing import Any, NoReturn

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
    encoding = json.detect_encoding(data)
    try:
        # Half a character may come as three bytes, too.
        return whole(data.decode(encoding, "surrogatepass"))
    except UnicodeDecodeError:
        return data.decode(encoding, "replace")


def parse_json(text: str | bytes, **options: Any) -> Any:
    """The value that stands there; bytes are decoded first; `options` are those of `json.loads`.

    Raises ValueError for all that is no JSON, whereas `json.loads` raises RecursionError for a wall of brackets.

    >>> parse_json("[" * 200_000)
    Traceback (most recent call last):
    ValueError: nested too deeply
    """
    try:
        return json.loads(decoded(text) if isinstance(text, bytes) else text, **options)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_request(text: str | bytes) -> Any:
    """What somebody asks to be judged: as `parse_json`, every string and key of it `whole`.

    Raises ValueError for NaN and Infinity too, which are no JSON.

    >>> parse_request(b'{"input": "a\\\\ud83d"}') == {"input": "a\ufffd"}
    True
    """
    try:
        return _whole(parse_json(text, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, list):
        return [_whole(item) for item in value]
    if isinstance(value, dict):
        return {whole(key): _whole(item) for key, item in value.items()}
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
