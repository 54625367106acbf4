"""What lies below a root: which files are meant, and the bytes of one, also while directories become links."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from gr_vl.errors import DataError

_LEFT = ("$recycle.bin", "#recycle", "@eadir", "desktop.ini", "lost+found", "system volume information", "thumbs.db")
"""Names that desktops and file servers leave behind, in small letters."""


def files(root: Path, pattern: str, *, deep: bool = True) -> Iterator[Path]:
    """The files in `root`, or anywhere below, that match pathlib's pattern and that somebody meant to lie there.

    Passed over are names that begin with a dot or a tilde (`._a.jsonl`, `.ipynb_checkpoints`, `.Trash-0`), folders that
    begin with two underscores (`__MACOSX`), and what other tools leave behind. `root` itself may have any name.
    """
    found = root.rglob(pattern) if deep else root.glob(pattern)
    return (path for path in found if _meant(path.relative_to(root)) and path.is_file())


def _meant(path: Path) -> bool:
    if any(folder.startswith("__") for folder in path.parts[:-1]):
        return False
    return not any(name.startswith((".", "~")) or name.lower() in _LEFT for name in path.parts)


def read_bytes(path: str | Path, root: Path, max_bytes: int) -> bytes:
    """The bytes of a regular file below `root`. Raises DataError when it lies elsewhere, is none, or is too large.

    Links that stay below the root are followed once, when the path is resolved; the resolved path is then opened part
    by part without following any, so a link put there in between ends in an error and not outside.
    """
    asked = Path(path)
    if asked.is_absolute() or ".." in asked.parts:
        raise DataError(f"{path}: only plain paths below {root} are read; drop `..` and the leading slash")
    try:
        base = root.resolve(strict=True)
        found = (base / asked).resolve(strict=True)
        if not found.is_relative_to(base):
            raise DataError(f"{path}: a link leads out of {root}; copy the file there")
        handle = _open(base, found.relative_to(base))
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError) as error:  # no file, a loop of links, a NUL in the name
        reason = f"cannot be read below {root} ({type(error).__name__})"
        raise DataError(f"{path!s:.200}: {reason}; correct the path") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise DataError(f"{path}: is no regular file; give the path of an image file")
        with os.fdopen(handle, "rb", closefd=False) as file:
            data = file.read(max_bytes + 1)
    finally:
        os.close(handle)
    if len(data) > max_bytes:
        raise DataError(f"{path}: {status.st_size:,} bytes exceed the limit of {max_bytes:,}; encode it smaller")
    return data


def _open(base: Path, inside: Path) -> int:
    # Without O_NONBLOCK a pipe would wait for its writer for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in inside.parts[:-1]:
            deeper = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = deeper
        return os.open(inside.name or ".", flags, dir_fd=folder)
    finally:
        os.close(folder)
