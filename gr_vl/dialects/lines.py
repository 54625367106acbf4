"""One line ending for all: grammars are of lines, and servers and editors end lines in more ways than models do."""

import re

_ENDINGS = re.compile("\r\n|[\r\x85\u2028\u2029]")


def lines(text: str) -> str:
    r"""The text with \n for every line ending: \r\n, \r, U+0085, U+2028 and U+2029.

    >>> lines("a\r\nb\rc")
    'a\nb\nc'
    """
    return _ENDINGS.sub("\n", text)


def aligned(text: str) -> str:
    r"""The same, every other character at its place: \r\n becomes a blank and \n.

    >>> aligned("a\r\nb\rc")
    'a \nb\nc'
    """
    return _ENDINGS.sub(lambda ending: "\n".rjust(len(ending[0])), text)
