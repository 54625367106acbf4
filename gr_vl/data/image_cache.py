"""Decoded pictures on disk under the hash of the bytes they came from: what was shrunk once is not decoded again."""

import hashlib
import os
import re
import struct
import zlib
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from gr_vl.data import images

VERSION = 2
"""Part of every key: raise it when `images.decode` gives other pixels for the same bytes."""

_OWN = re.compile(r"([0-9a-f]{2})/\1[0-9a-f]{62}(\.rgb|\.[0-9a-f]+\.part)")
"""What entries are called, and what a killed writer leaves: nothing else in the folder is ours to delete."""
_HEADER = struct.Struct(">IIII")
"""Width, height, shrink, CRC-32 of the pixels. Entries are raw RGB: a lossy one would make results depend on hits."""


class ImageCache:
    """A folder of at most `max_bytes`, plus an eighth for each process that writes to it at the same time.

    Any number of processes may share it. The entries used longest ago go first, by the files' modification times.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self._unchecked = max_bytes
        """Bytes written since the folder was last measured; at the start it is unknown what is there."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _of_this_process, (self.folder, self.max_bytes)

    def picture(self, data: bytes, shrink: int) -> Image.Image:
        """`images.decode(data, shrink=shrink)`, from the folder if it is there. A damaged entry is made anew."""
        path = self._path(data, shrink)
        known = _read(path, shrink)
        if known is not None:
            return known
        picture = images.decode(data, shrink=shrink)
        self._write(path, picture, shrink)
        return picture

    def _path(self, data: bytes, shrink: int) -> Path:
        key = hashlib.sha256(f"{VERSION}/{shrink}/".encode() + data).hexdigest()
        return self.folder / key[:2] / f"{key}.rgb"

    def _write(self, path: Path, picture: Image.Image, shrink: int) -> None:
        pixels = picture.tobytes()
        if len(pixels) > self.max_bytes:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{uuid4().hex}.part")
        part.write_bytes(_HEADER.pack(*picture.size, shrink, zlib.crc32(pixels)) + pixels)
        with suppress(FileNotFoundError):  # another process took it for what a killed one left
            part.replace(path)
        self._unchecked += len(pixels)
        if self._unchecked > self.max_bytes // 8:
            self._evict()
            self._unchecked = 0

    def _evict(self) -> None:
        entries = []
        for path in self.folder.glob("*/*"):
            if not _OWN.fullmatch(f"{path.parent.name}/{path.name}"):
                continue
            try:
                status = path.stat()
            except FileNotFoundError:  # another process evicts too
                continue
            entries.append((status.st_mtime_ns, path, status.st_size))
        total = sum(size for _, _, size in entries)
        for _, path, size in sorted(entries):
            if total <= self.max_bytes:
                return
            path.unlink(missing_ok=True)
            total -= size


@lru_cache
def _of_this_process(folder: Path, max_bytes: int) -> ImageCache:
    """What a cache is in a process that it is sent to: there, too, it counts what it writes."""
    return ImageCache(folder, max_bytes)


def _read(path: Path, shrink: int) -> Image.Image | None:
    try:
        with path.open("rb") as file:
            header, pixels = file.read(_HEADER.size), file.read()
            os.utime(path)
    except FileNotFoundError:
        return None
    if len(header) < _HEADER.size:
        return None
    width, height, shrunk, crc = _HEADER.unpack(header)
    if shrunk != shrink or len(pixels) != width * height * 3 or zlib.crc32(pixels) != crc:
        return None
    return Image.frombuffer("RGB", (width, height), pixels, "raw", "RGB", 0, 1)
