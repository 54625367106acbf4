"""The one thing that a text may not hold: half a character."""

import re

_SURROGATES = re.compile("[\ud800-\udfff]")


def whole(text: str) -> str:
    """The text with U+FFFD, the sign for a broken character, in place of every lone surrogate.

    Neither files nor tokenizers take those. NUL, bidi controls and all else are characters like others and stay.

    >>> whole("a\\ud83d b\\x00") == "a\\ufffd b\\x00"
    True
    """
    return _SURROGATES.sub("\ufffd", text)
