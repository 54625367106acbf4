"""Rows of the files that public data comes in, one at a time: parquet, CSV, JSON and JSON lines, also gzipped.

Nobody who made the files is believed: a row that cannot be read is reported as `Broken` where that leaves the rest
readable, and ends in DataError where it does not (a cut-off archive, a JSON array that stops making sense). No more
than `MAX_ROW` characters of a text file, or one batch of a parquet file, are in memory at once. A file is read once
from its beginning to its end, so a pipe will do, except for parquet.
"""

import csv
import gzip
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader, TextIOWrapper
from itertools import chain
from pathlib import Path
from typing import Any, TextIO, cast

from gr_vl.data.text import parse_json
from gr_vl.errors import Broken, DataError

MAX_ROW = 64 * 2**20
"""Characters of a row: room for ten pictures as data URLs."""
CHUNK = 2**20
ROWS, IMAGE_ROWS = 1024, 16
"""Parquet rows in memory at once, without and with pictures."""

_ENDS = ("\n", "\r")
_BETWEEN = re.compile(r"[\s,]*")


Item = Mapping[str, Any] | Broken


def rows(path: Path) -> Iterator[Item]:
    """Every row of a file in its order. Raises DataError when the file cannot be read (any further)."""
    name = path.name.lower().removesuffix(".gz")
    read = next((read for suffix, read in _READERS.items() if name.endswith(suffix)), None)
    if read is None:
        raise DataError(f"{path}: unknown kind of table; use one of: {', '.join(_READERS)}")
    with _reading(path):
        yield from read(path)


def numbered(path: Path) -> Iterator[tuple[int, Item]]:
    """Every object of a file of JSON lines, whatever its name, and the number of its line, from 1. Raises as `rows`."""
    with _reading(path), _open(path) as file:
        yield from _objects(file)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error}); fetch it again") from None


def _open(path: Path) -> TextIO:
    return decoded(cast(BufferedReader, gzip.open(path) if path.suffix == ".gz" else path.open("rb")))


def decoded(file: BufferedReader) -> TextIO:
    """The text of a file by its first bytes: unzipped, and UTF-16 and UTF-32 told from UTF-8.

    Bytes that are none of its encoding become U+FFFD: one broken character is no reason to lose a file.
    """
    head = file.peek(4)[:4]
    if head.startswith(b"\x1f\x8b"):
        return decoded(cast(BufferedReader, gzip.GzipFile(fileobj=file)))
    found = json.detect_encoding(head)
    encoding = "utf-8-sig" if found == "utf-8" else found
    return TextIOWrapper(file, encoding=encoding, errors="replace", newline="")


def _json(path: Path) -> Iterator[Item]:
    """An array, or one object a line: `datasets` names both .json."""
    with _open(path) as file:
        first = file.read(1)
        while first.isspace():
            first = file.read(1)
        yield from _array(path, file) if first == "[" else (item for _, item in _objects(file, first))


def _lines(file: TextIO, begun: str = "") -> Iterator[str | Broken]:
    """The lines of a file; `begun` is what was read of the first one."""
    while line := begun + file.readline(MAX_ROW):
        begun = ""
        if len(line) >= MAX_ROW and not line.endswith(_ENDS):
            while (rest := file.readline(CHUNK)) and not rest.endswith(_ENDS):
                pass
            yield Broken("", line[:80], f"a line of over {MAX_ROW:,} characters", "leave it out")
        else:
            yield line


def _objects(file: TextIO, begun: str = "") -> Iterator[tuple[int, Item]]:
    for number, line in enumerate(_lines(file, begun), start=1):
        if isinstance(line, Broken):
            yield number, line
        elif line.strip():
            yield number, parsed(line)


def parsed(line: str) -> Item:
    """The object that a line of JSON holds."""
    try:
        value = parse_json(line)
    except ValueError as error:
        return Broken("", line[:80], f"not JSON ({str(error)[:80]})", "correct the line, or fetch the file again")
    return _mapping(value)


def _mapping(value: Any) -> Item:
    if isinstance(value, dict):
        return value
    return Broken("", value, f"a JSON {type(value).__name__} and no object", "write one object a row")


def _array(path: Path, file: TextIO) -> Iterator[Item]:
    """The values behind the bracket that opens an array."""
    decoder, number, position = json.JSONDecoder(), 0, 0
    buffer = file.read(CHUNK)
    while True:
        found = _BETWEEN.match(buffer, position)
        position = found.end() if found else position
        if buffer.startswith("]", position):
            return
        try:
            value, position = decoder.raw_decode(buffer, position)
        except ValueError:
            # Perhaps only cut off: what is read at once doubles, so a long row is not parsed over and over.
            more = file.read(max(CHUNK, len(buffer) - position)) if len(buffer) - position <= MAX_ROW else ""
            if not more:
                raise _no_json(path, number) from None
            buffer, position = buffer[position:] + more, 0
            continue
        except RecursionError:
            raise _no_json(path, number) from None
        yield _mapping(value)
        number += 1
        if position > CHUNK:
            buffer, position = buffer[position:], 0


def _no_json(path: Path, number: int) -> DataError:
    return DataError(f"{path}: row {number}: not JSON from here on; fetch the file again")


def _csv(path: Path) -> Iterator[Item]:
    csv.field_size_limit(MAX_ROW)
    with _open(path) as file:
        records = _records(_lines(file))
        names = next(records, [])
        if isinstance(names, Broken):
            raise DataError(f"{path}: its header is {names.reason}; fetch it again")
        repeated = {name: Broken.repeated(name) for name in names if names.count(name) > 1}
        for cells in records:
            if isinstance(cells, list) and len(cells) != len(names):
                which = "more" if len(cells) > len(names) else "fewer"
                yield Broken("", cells, f"{which} cells than the header names", "quote its fields")
            else:
                yield cells if isinstance(cells, Broken) else dict(zip(names, cells, strict=True)) | repeated


def _records(lines: Iterator[str | Broken]) -> Iterator[list[str] | Broken]:
    """The cells of each row. A row that does not end costs its first line alone: the others are read again."""
    again: deque[str | Broken] = deque()
    while (first := again.popleft() if again else next(lines, None)) is not None:
        if isinstance(first, Broken):
            yield first
            continue
        taken: list[str | Broken] = []
        # Rows of several lines only where none is read again: no line is read more than three times.
        more = () if again else _continued(lines, taken)
        try:
            if cells := next(csv.reader(chain([first], more), strict=True)):
                yield cells
        except csv.Error as error:
            yield Broken("", first[:80], f"not CSV ({error})", "quote the row's fields, or fetch the file again")
            again.extend(taken)


def _continued(lines: Iterator[str | Broken], taken: list[str | Broken]) -> Iterator[str]:
    """What stands behind a row's first line as far as a reader asks for it and a row may go on; notes all of it."""
    size = 0
    for line in lines:
        taken.append(line)
        if isinstance(line, Broken) or (size := size + len(line)) > MAX_ROW:
            return
        yield line


def _parquet(path: Path) -> Iterator[Item]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from gr_vl.data.arrow import listed

    try:
        # Streamed: pre-buffering keeps whole row groups, which weigh hundreds of megabytes where pictures are embedded.
        with pq.ParquetFile(path, buffer_size=CHUNK, pre_buffer=False) as file:
            size = IMAGE_ROWS if "binary" in str(file.schema_arrow) else ROWS
            for batch in file.iter_batches(batch_size=size):
                yield from listed(batch)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a parquet file ({str(error)[:200]}); fetch it again") from None


_READERS: Mapping[str, Callable[[Path], Iterator[Item]]] = {
    ".parquet": _parquet,
    ".jsonl": _json,
    ".json": _json,
    ".csv": _csv,
}
