"""The one thing that a text may not hold: half a character. Clients that cut texts send it, as in JSON's `\\ud83d`."""

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


def read_json(data: bytes) -> Any:
    """The value of a JSON text in UTF-8, every string and key of it `whole`.

    Raises ValueError: no JSON, no UTF-8, NaN and Infinity, which are no JSON either, or nested too deeply.

    >>> read_json(b'{"input": "a\\\\ud83d"}') == {"input": "a\ufffd"}
    True
    """
    # Half a character may come as three bytes, too.
    text = data.decode("utf-8-sig", "surrogatepass")
    try:
        return _whole(json.loads(text, parse_constant=_refuse))
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
