"""Samples in parquet: the one format between all stages. Images are embedded, so a file is a corpus by itself."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gr_vl.data import tables
from gr_vl.data.text import whole
from gr_vl.errors import DataError
from gr_vl.schema import Label, Sample, Task

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))),
        *((f"{task}_label", pa.string()) for task in Task),
        ("reasoning", pa.string()),
        *((f"taught_{task}_label", pa.string()) for task in Task),
        ("policy", pa.string()),
    ]
)
"""Columns of a corpus. `images` has the layout of a `datasets` Image feature, so any Hugging Face tool opens it."""

BATCH, BATCH_BYTES = 1024, 64 * 2**20
"""Rows of a row group, and bytes of their images: what is written is in memory several times over."""
READ = 128
"""Rows in memory at once when a corpus is read."""


def to_row(sample: Sample) -> dict[str, Any]:
    """A sample as a row of `SCHEMA`; lone surrogates in its texts become U+FFFD."""
    row: dict[str, Any] = {}
    for name in ("id", "source", "prompt", "response", "reasoning", "policy"):
        text = getattr(sample, name)
        row[name] = None if text is None else whole(text)
    row["images"] = [{"bytes": image, "path": None} for image in sample.images]
    for task in Task:
        row[f"{task}_label"] = sample.labels.get(task)
        row[f"taught_{task}_label"] = (sample.taught or {}).get(task)
    return row


class UnknownLabel(ValueError):
    """A label that is none of its task's words."""

    def __init__(self, field: str, word: str, task: Task) -> None:
        self.field, self.word = field, word
        self.fix = f"write {task.positive} or {task.positive.opposite}"
        super().__init__(f"{field}: {word!r} is no label of the task {task}; {self.fix}")


def from_row(row: Mapping[str, Any]) -> Sample:
    """A row of `SCHEMA` as a sample. Raises UnknownLabel when a label is none of its task's words."""
    return Sample(
        id=row["id"],
        source=row["source"],
        prompt=row["prompt"] or "",
        response=row["response"],
        images=tuple(image["bytes"] for image in row["images"] or ()),
        labels=_labels(row),
        reasoning=row["reasoning"],
        taught=_labels(row, "taught_") or None,
        policy=row["policy"],
    )


def _labels(row: Mapping[str, Any], prefix: str = "") -> dict[Task, Label]:
    labels = {}
    for task in Task:
        field = f"{prefix}{task}_label"
        try:
            if row[field] is not None:
                labels[task] = task.label(row[field])
        except ValueError:
            raise UnknownLabel(field, row[field], task) from None
    return labels


class Writer:
    """Writes samples one by one; the file appears only when the block that holds the writer ends without an error."""

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> "Writer":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.path.with_suffix(".part")
        self._writer = pq.ParquetWriter(self._part, SCHEMA)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        with self._writer:
            if error is None:
                self._flush()
        if error is None:
            self._part.replace(self.path)
        else:
            self._part.unlink()

    def add(self, sample: Sample) -> None:
        """Write a sample, now or with those that follow."""
        self._rows.append(to_row(sample))
        self._bytes += sum(map(len, sample.images))
        self.count += 1
        if len(self._rows) == BATCH or self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=SCHEMA))
        self._rows, self._bytes = [], 0


def write(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples and return their number; the file appears only when it is whole."""
    with Writer(path) as writer:
        for sample in samples:
            writer.add(sample)
    return writer.count


def read(path: Path) -> list[Sample]:
    """All samples of a file. Raises DataError that names file, row and field."""
    return list(iterate(path))


def iterate(path: Path) -> Iterator[Sample]:
    """Samples of a file, one row group at a time."""
    number = 0
    for group in opened(path).iter_batches(batch_size=READ, columns=SCHEMA.names):
        for row in tables.listed(group):
            if isinstance(row, tables.Broken):
                raise DataError(f"{path}: row {number}: {row.field} is {row.reason}; {row.fix}")
            try:
                yield from_row(row)
            except UnknownLabel as error:
                raise DataError(f"{path}: row {number}: {error}") from None
            number += 1


def opened(path: Path) -> Any:
    """A corpus as a `pyarrow.parquet.ParquetFile`. Raises DataError when it is none."""
    file = _parquet(path)
    missing = sorted(set(SCHEMA.names) - set(file.schema_arrow.names))
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; build it with `gr-vl data`")
    return file


def count(path: Path) -> int:
    """Number of rows, from the file's footer alone. Raises DataError when the file is no parquet file."""
    return int(_parquet(path).metadata.num_rows)


def _parquet(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"{path}: no such file; build it with `gr-vl data`, or correct the path")
    try:
        # By default what was read stays in memory until the file is closed.
        return pq.ParquetFile(path, pre_buffer=False)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a parquet file ({error}); build it with `gr-vl data`") from None
