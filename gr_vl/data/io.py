"""Samples in parquet: the one format between all stages. Images are embedded, so a file is a corpus by itself."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gr_vl.data import arrow
from gr_vl.data.text import whole
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Label, Sample, Task
from gr_vl.tasks import SHARED, GuardSpec, ordered

IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
"""The layout of a `datasets` Image feature, so that any Hugging Face tool opens it."""
GUARD = b"gr_vl.guard"
"""The key of the footer under which a corpus holds the spec of the guard that it was made for."""

BATCH, BATCH_BYTES = 1024, 64 * 2**20
"""Rows of a row group, and bytes of their images: what is written is in memory several times over."""
READ = 128
"""Rows in memory at once when a corpus is read."""


def schema(guard: GuardSpec | None = None) -> pa.Schema:
    """Columns of a corpus: a label for every shared task and for every task of the guard that it was made for."""
    tasks = ordered((*SHARED, *(guard.tasks if guard else ())))
    texts = {name: pa.string() for name in ("id", "source", "prompt", "response")}
    labels = {f"{task}_label": pa.string() for task in tasks}
    taught = {f"taught_{name}": kind for name, kind in labels.items()}
    columns = texts | {"images": IMAGES} | labels | {"reasoning": pa.string()} | taught | {"policy": pa.string()}
    return pa.schema(columns, {} if guard is None else {GUARD: json.dumps(guard.to_json())})


def tasks_in(schema: pa.Schema) -> tuple[Task, ...]:
    """The tasks that a corpus with this schema may hold labels of."""
    spec = _spec(schema.metadata)
    return ordered((*SHARED, *(spec.tasks if spec else ())))


def _spec(footer: Mapping[bytes, bytes] | None) -> GuardSpec | None:
    written = (footer or {}).get(GUARD)
    return None if written is None else GuardSpec.from_json(json.loads(written))


def guard_of(path: Path) -> GuardSpec | None:
    """The guard that a corpus was made for, from its footer; None where it names none. DataError when it is broken."""
    try:
        return _spec(_parquet(path).schema_arrow.metadata)
    except ValueError as error:
        raise DataError(f"{path}: its footer names no guard ({error}); write it with `gr-vl data`") from None


def tasks_of(path: Path) -> tuple[Task, ...]:
    """The tasks that a corpus may hold labels of. Raises DataError as `guard_of`."""
    return tasks_in(schema(guard_of(path)))


def to_row(sample: Sample, schema: pa.Schema) -> dict[str, Any]:
    """A sample as a row; lone surrogates in its texts become U+FFFD. DataError for a label that has no column."""
    row: dict[str, Any] = {}
    for name in ("id", "source", "prompt", "response", "reasoning", "policy"):
        text = getattr(sample, name)
        row[name] = None if text is None else whole(text)
    row["images"] = [{"bytes": image, "path": None} for image in sample.images]
    row |= {f"{task}_label": label for task, label in sample.labels.items()}
    row |= {f"taught_{task}_label": label for task, label in (sample.taught or {}).items()}
    if foreign := row.keys() - set(schema.names):
        raise DataError(
            f"sample {sample.id!r}: {', '.join(sorted(foreign))}: no task of the guard that this corpus is for"
        )
    return row


def from_row(row: Mapping[str, Any], tasks: Iterable[Task] = SHARED) -> Sample:
    """A row with labels of these tasks as a sample. Raises Broken when a cell is not what the sample needs there."""
    for value in row.values():
        if isinstance(value, Broken):
            raise value
    for name in ("id", "source"):
        if not (row[name] or "").strip():
            raise Broken(name, row[name], f"no {name}", "give every row one")
    return Sample(
        id=row["id"],
        source=row["source"],
        prompt=row["prompt"] or "",
        response=row["response"],
        images=tuple(map(_image, row["images"] or ())),
        labels=_labels(row, tasks),
        reasoning=row["reasoning"],
        taught=_labels(row, tasks, "taught_") or None,
        policy=row["policy"],
    )


def _image(image: Mapping[str, Any] | None) -> bytes:
    if image is None or image["bytes"] is None:
        path = image and image["path"]
        raise Broken("images", path, "image without bytes", "embed the encoded file itself")
    data: bytes = image["bytes"]
    return data


def _labels(row: Mapping[str, Any], tasks: Iterable[Task], prefix: str = "") -> dict[Task, Label]:
    labels = {}
    for task in tasks:
        field = f"{prefix}{task}_label"
        try:
            if row[field] is not None:
                labels[task] = task.label(row[field])
        except ValueError:
            raise Broken(field, row[field], "unknown label", arrow.words(task)) from None
    return labels


class Writer:
    """Writes samples one by one; the file appears only when the block that holds the writer ends without an error."""

    def __init__(self, path: Path, guard: GuardSpec | None = None) -> None:
        self.path, self.count, self.schema = path, 0, schema(guard)
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> "Writer":
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._part = self.path.with_suffix(".part")
        self._writer = pq.ParquetWriter(self._part, self.schema)
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
        self._rows.append(to_row(sample, self.schema))
        self._bytes += sum(map(len, sample.images))
        self.count += 1
        if len(self._rows) == BATCH or self._bytes >= BATCH_BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, schema=self.schema))
        self._rows, self._bytes = [], 0


def write(path: Path, samples: Iterable[Sample], guard: GuardSpec | None = None) -> int:
    """Write samples and return their number; the file appears only when it is whole, and its footer names the guard."""
    with Writer(path, guard) as writer:
        for sample in samples:
            writer.add(sample)
    return writer.count


def read(path: Path) -> list[Sample]:
    """All samples of a file. Raises DataError that names file, row and field."""
    return list(iterate(path))


def read_distinct(path: Path) -> list[Sample]:
    """The same, for work that is kept by id: raises DataError for an id that an earlier row has, too."""
    samples: dict[str, Sample] = {}
    for number, sample in enumerate(iterate(path)):
        if samples.setdefault(sample.id, sample) is not sample:
            raise DataError(f"{path}: row {number}: id: {sample.id!r:.80}: id of another row; give every row its own")
    return list(samples.values())


def iterate(path: Path) -> Iterator[Sample]:
    """Samples of a file, a few rows at a time. Raises DataError that names file, row and field."""
    return (sample for sample, _ in rows(path))


def rows(path: Path, more: Iterable[pa.Field] = ()) -> Iterator[tuple[Sample, Mapping[str, Any]]]:
    """Samples of a file with their whole rows, which hold some columns more. Raises as `iterate`."""
    tasks = tasks_of(path)
    for start, batch in batches(path, more=more):
        for number, row in enumerate(arrow.listed(batch), start):
            try:
                yield from_row(row, tasks), row
            except Broken as error:
                raise DataError(f"{path}: row {number}: {error}") from None


def batches(path: Path, size: int = READ, more: Iterable[pa.Field] = ()) -> Iterator[tuple[int, Any]]:
    """The rows of a corpus as Arrow batches of its columns and some more, each with the number of its first row.

    A column of labels that is not there is empty: a corpus may lack a task. Columns of text may also be whole numbers,
    categories or bytes, and one that holds nothing may be of any type. Raises DataError when the file is no corpus, has
    a column of another type, or cannot be read on.
    """
    wanted = pa.schema([*schema(guard_of(path)), *more])
    file, start = opened(path, wanted), 0
    there = [field for field in wanted if field.name in file.schema_arrow.names]
    wanted = wanted.with_metadata(file.schema_arrow.metadata)
    try:
        for batch in file.iter_batches(batch_size=size, columns=[field.name for field in there]):
            cast = {field.name: arrow.cast(batch.column(field.name), field, f"{path}: row", start) for field in there}
            columns = [cast.get(field.name, pa.nulls(len(batch), field.type)) for field in wanted]
            yield start, pa.RecordBatch.from_arrays(columns, schema=wanted)
            start += len(batch)
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0][:200]
        raise DataError(f"{path}: cannot be read on from row {start} ({why}); fetch or build it again") from None


def opened(path: Path, wanted: pa.Schema) -> Any:
    """A file that has these columns, labels aside, as a `pyarrow.parquet.ParquetFile`. DataError when it has not."""
    file = _parquet(path)
    names = file.schema_arrow.names
    if missing := sorted(name for name in set(wanted.names) - set(names) if not name.endswith("_label")):
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; build it with `gr-vl data`")
    if twice := sorted({name for name in wanted.names if names.count(name) > 1}):
        raise DataError(f"{path}: has the columns {', '.join(twice)} twice; keep one of each")
    return file


def has_reasoning(path: Path) -> bool:
    """Whether any row of a corpus has reasoning. Raises DataError as `batches`."""
    file = opened(path, schema())
    return any(len(batch) > batch.column(0).null_count for batch in file.iter_batches(columns=["reasoning"]))


def count(path: Path) -> int:
    """Number of rows, from the file's footer alone. Raises DataError when the file is no parquet file."""
    return int(_parquet(path).metadata.num_rows)


def _parquet(path: Path) -> Any:
    if path.exists() and not path.is_dir() and not path.is_file():
        raise DataError(f"{path}: is a pipe or a device, and parquet is read from its end; write it to a file first")
    if not path.is_file():
        raise DataError(f"{path}: no such file; build it with `gr-vl data`, or correct the path")
    try:
        # By default what was read stays in memory until the file is closed.
        return pq.ParquetFile(path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file ({error}); build it with `gr-vl data`") from None
