"""Rows of the files that public data comes in, one at a time: parquet, CSV, JSON and JSON lines, also gzipped.

Whoever made the files is not believed: a row that cannot be read is reported as `Broken` where that leaves the rest
readable, and ends in DataError where it does not (a cut-off archive, a JSON array that stops making sense). No more
than `MAX_ROW` characters of a text file, or one batch of a parquet file, are in memory at once.
"""

import csv
import gzip
import json
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, TextIO, cast

from gr_vl.errors import DataError

MAX_ROW = 64 * 2**20
"""Characters of a row: room for ten pictures as data URLs."""
CHUNK = 2**20
ROWS, IMAGE_ROWS = 1024, 16
"""Parquet rows in memory at once, without and with pictures."""

_ENDS = ("\n", "\r")
_BETWEEN = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class Broken:
    """A row that is there and cannot be read."""

    value: Any
    reason: str
    fix: str
    field: str = ""
    """Where the rest of the row can be read."""


Item = Mapping[str, Any] | Broken


def rows(path: Path) -> Iterator[Item]:
    """Every row of a file in its order. Raises DataError when the file cannot be read (any further)."""
    name = path.name.lower().removesuffix(".gz")
    read = next((read for suffix, read in _READERS.items() if name.endswith(suffix)), None)
    if read is None:
        raise DataError(f"{path}: unknown kind of table; use one of: {', '.join(_READERS)}")
    try:
        yield from read(path)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read ({type(error).__name__}: {error}); fetch it again") from None


def _open(path: Path) -> TextIO:
    # Bytes that are no UTF-8 become U+FFFD: one broken character is no reason to lose a file.
    options: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "replace", "newline": ""}
    return cast(TextIO, gzip.open(path, "rt", **options) if path.suffix == ".gz" else path.open(**options))


def _json(path: Path) -> Iterator[Item]:
    """An array, or one object a line: `datasets` names both .json."""
    with _open(path) as file:
        head = file.read(CHUNK).lstrip()
    with _open(path) as file:
        yield from _array(path, file) if head.startswith("[") else _objects(file)


def _lines(file: TextIO) -> Iterator[str | Broken]:
    while line := file.readline(MAX_ROW):
        if len(line) == MAX_ROW and not line.endswith(_ENDS):
            while (rest := file.readline(CHUNK)) and not rest.endswith(_ENDS):
                pass
            yield Broken(line[:80], f"a line of over {MAX_ROW:,} characters", "leave it out")
        else:
            yield line


def _objects(file: TextIO) -> Iterator[Item]:
    for line in _lines(file):
        if isinstance(line, Broken):
            yield line
        elif line.strip():
            yield _object(line)


def _object(line: str) -> Item:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Broken(line[:80], f"not JSON ({str(error)[:80]})", "correct the line, or fetch the file again")
    return _mapping(value)


def _mapping(value: Any) -> Item:
    if isinstance(value, dict):
        return value
    return Broken(value, f"a JSON {type(value).__name__} and no object", "write one object a row")


def _array(path: Path, file: TextIO) -> Iterator[Item]:
    decoder, number, position = json.JSONDecoder(), 0, 0
    buffer = file.read(CHUNK).lstrip()[1:]
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
        for cells in records:
            if isinstance(cells, list) and len(cells) != len(names):
                which = "more" if len(cells) > len(names) else "fewer"
                yield Broken(cells, f"{which} cells than the header names", "quote its fields")
            else:
                yield cells if isinstance(cells, Broken) else dict(zip(names, cells, strict=True))


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
            yield Broken(first[:80], f"not CSV ({error})", "quote the row's fields, or fetch the file again")
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

    try:
        # Streamed: pre-buffering keeps whole row groups, which weigh hundreds of megabytes where pictures are embedded.
        with pq.ParquetFile(path, buffer_size=CHUNK, pre_buffer=False) as file:
            size = IMAGE_ROWS if "binary" in str(file.schema_arrow) else ROWS
            for batch in file.iter_batches(batch_size=size):
                yield from listed(batch)
    except pa.ArrowException as error:
        raise DataError(f"{path}: not a parquet file ({str(error)[:200]}); fetch it again") from None


def listed(batch: Any) -> Iterator[Item]:
    """The rows of an Arrow batch, whose texts nobody has read yet."""
    try:
        yield from batch.to_pylist()
        return
    except UnicodeDecodeError:
        pass
    for number in range(batch.num_rows):
        cells = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            try:
                cells[name] = column[number].as_py()
            except UnicodeDecodeError as error:
                yield Broken(error.object[:80], "a text that is no UTF-8", "encode it again, or leave it out", name)
                break
        else:
            yield cells


_READERS: Mapping[str, Callable[[Path], Iterator[Item]]] = {
    ".parquet": _parquet,
    ".jsonl": _json,
    ".json": _json,
    ".csv": _csv,
}
