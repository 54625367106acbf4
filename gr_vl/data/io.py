"""Samples in parquet: the one format between all stages. Images are embedded, so a file is a corpus by itself."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

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

BATCH = 1024
"""Rows in memory at once."""


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


def from_row(row: Mapping[str, Any]) -> Sample:
    """A row of `SCHEMA` as a sample. Raises ValueError when a label is none of its task's words."""
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
    cells = {task: row[f"{prefix}{task}_label"] for task in Task}
    return {task: task.label(cell) for task, cell in cells.items() if cell is not None}


def write(path: Path, samples: Iterable[Sample]) -> int:
    """Write samples and return their number; the file appears only when it is whole."""
    rows, count = map(to_row, samples), 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    try:
        with pq.ParquetWriter(part, SCHEMA) as writer:
            while batch := list(islice(rows, BATCH)):
                writer.write_table(pa.Table.from_pylist(batch, schema=SCHEMA))
                count += len(batch)
    except BaseException:
        part.unlink()
        raise
    part.replace(path)
    return count


def read(path: Path) -> list[Sample]:
    """All samples of a file. Raises DataError that names file, row and field."""
    return list(iterate(path))


def iterate(path: Path) -> Iterator[Sample]:
    """Samples of a file, one row group at a time."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; build it with `gr-vl data`, or correct the path")
    try:
        file = pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: not a parquet file ({error}); build it with `gr-vl data`") from None
    missing = sorted(set(SCHEMA.names) - set(file.schema_arrow.names))
    if missing:
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; build it with `gr-vl data`")
    number = 0
    for group in file.iter_batches(batch_size=BATCH, columns=SCHEMA.names):
        for row in group.to_pylist():
            try:
                yield from_row(row)
            except ValueError as error:
                raise DataError(f"{path}: row {number}: {error}") from None
            number += 1


def count(path: Path) -> int:
    """Number of rows, from the file's footer alone. Raises DataError when there is no such file."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; build it with `gr-vl data`, or correct the path")
    return int(pq.ParquetFile(path).metadata.num_rows)
