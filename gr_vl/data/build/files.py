"""Files that are whole or not there."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file that is either the old one or the new one, whenever the process dies; makes its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    yield part
    part.replace(path)


def replace_text(path: Path, text: str) -> Path:
    """The same of a text, in which a lone surrogate, that JSON can carry, becomes a question mark; returns its path."""
    with whole(path) as part:
        part.write_text(text, encoding="utf-8", errors="replace")
    return path


def sha256(path: Path) -> str:
    """The hash of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
