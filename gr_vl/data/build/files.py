"""Files that are whole or not there."""

import hashlib
from pathlib import Path


def replace_text(path: Path, text: str) -> None:
    """Write a file that is either the old one or the new one, whenever the process dies."""
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def sha256(path: Path) -> str:
    """The hash of a file, as `sha256sum` prints it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
