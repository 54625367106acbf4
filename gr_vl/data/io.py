"""Samples in parquet: the one format between all stages. Images are embedded, so a file is a corpus by itself.

Whatever reads a corpus reads an index of one as well (`gr_vl.data.index`): what a stage leaves out costs no copy.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gr_vl.data import arrow, index
from gr_vl.data.text import whole
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Label, Sample, Task
from gr_vl.tasks import SHARED, GuardSpec, ordered

IMAGES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
"""The layout of a `datasets` Image feature, so that any Hugging Face tool opens it."""
GUARD = b"gr_vl.guard"
"""The key of the footer under which a corpus holds the spec of the guard that it was made for."""
Want = Callable[[GuardSpec | None], pa.Schema]
"""What is read of a corpus, by the guard that it was made for."""

BATCH, BATCH_BYTES = 1024, 64 * 2**20
"""Rows of a row group, and bytes of their images: what is written is in memory several times over."""
READ = 128
"""Rows in memory at once when a corpus is read."""


def schema(guard: GuardSpec | None = None) -> pa.Schema:
    """Columns of a corpus: a label for every shared task and for every task of the guard that it was made for."""
    tasks = ordered((*(guard.tasks if guard else ()), *SHARED))
    texts = {name: pa.string() for name in ("id", "source", "prompt", "response")}
    labels = {f"{task}_label": pa.string() for task in tasks}
    taught = {f"taught_{name}": kind for name, kind in labels.items()}
    columns = texts | {"images": IMAGES} | labels | {"reasoning": pa.string()} | taught | {"policy": pa.string()}
    return pa.schema(columns, {} if guard is None else {GUARD: json.dumps(guard.to_json())})


def _only(*names: str) -> Want:
    return lambda guard: pa.schema([schema(guard).field(name) for name in names])


def tasks_in(schema: pa.Schema) -> tuple[Task, ...]:
    """The tasks that a corpus with these columns and this footer may hold labels of."""
    written = (schema.metadata or {}).get(GUARD)
    return ordered((*(GuardSpec.from_json(json.loads(written)).tasks if written else ()), *SHARED))


def guard_of(path: Path) -> GuardSpec | None:
    """The guard that a corpus, or that of an index, was made for; None where its footer names none.

    Raises DataError when the footer is broken.
    """
    corpus = files(path)[-1]
    return _spec(_parquet(corpus), corpus)


def _spec(file: Any, path: Path) -> GuardSpec | None:
    written = (file.schema_arrow.metadata or {}).get(GUARD)
    try:
        return None if written is None else GuardSpec.from_json(json.loads(written))
    except ValueError as error:
        raise DataError(f"{path}: its footer names no guard ({error}); write it with `gr-vl data`") from None


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

    def add(self, sample: Sample) -> Sample:
        """Write a sample, now or with those that follow, and hand it on."""
        self._rows.append(to_row(sample, self.schema))
        self._bytes += sum(map(len, sample.images))
        self.count += 1
        if len(self._rows) == BATCH or self._bytes >= BATCH_BYTES:
            self._flush()
        return sample

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


def rows(path: Path, want: Want = schema) -> Iterator[tuple[Sample, Mapping[str, Any]]]:
    """Samples of a file with their whole rows, which may hold some columns more. Raises as `iterate`."""
    for start, batch in batches(path, want=want):
        tasks = tasks_in(batch.schema)
        for number, row in enumerate(arrow.listed(batch), start):
            try:
                yield from_row(row, tasks), row
            except Broken as error:
                raise DataError(f"{path}: row {number}: {error}") from None


def batches(path: Path, size: int = READ, want: Want = schema) -> Iterator[tuple[int, Any]]:
    """The rows of a corpus or an index as Arrow batches of exactly these columns, each with its first row's number.

    A column of labels that is not there is empty: a corpus may lack a task. Columns of text may also be whole numbers,
    categories or bytes, and one that holds nothing may be of any type. Raises DataError when the file is no corpus, has
    a column of another type, or cannot be read on.
    """
    chosen, start = index.read(_parquet(path), path), 0
    found = _whole(path, size, want) if chosen is None else chosen.taken(_whole(chosen.corpus, size, want))
    for batch in found:
        yield start, batch
        start += len(batch)


def _whole(path: Path, size: int, want: Want) -> Iterator[Any]:
    file, start = _parquet(path), 0
    wanted, names = want(_spec(file, path)), file.schema_arrow.names
    if missing := sorted(name for name in set(wanted.names) - set(names) if not name.endswith("_label")):
        raise DataError(f"{path}: lacks the columns {', '.join(missing)}; build it with `gr-vl data`")
    if twice := sorted({name for name in wanted.names if names.count(name) > 1}):
        raise DataError(f"{path}: has the columns {', '.join(twice)} twice; keep one of each")
    there = [field for field in wanted if field.name in names]
    try:
        for batch in file.iter_batches(batch_size=size, columns=[field.name for field in there]):
            cast = {field.name: arrow.cast(batch.column(field.name), field, f"{path}: row", start) for field in there}
            columns = [cast.get(field.name, pa.nulls(len(batch), field.type)) for field in wanted]
            yield pa.RecordBatch.from_arrays(columns, schema=wanted)
            start += len(batch)
    except (pa.ArrowException, OSError) as error:
        why = str(error).splitlines()[0][:200]
        raise DataError(f"{path}: cannot be read on from row {start} ({why}); fetch or build it again") from None


def ids(path: Path) -> list[str]:
    """The ids of a corpus's rows, without reading anything else. Raises DataError as `batches`."""
    return [id for _, batch in batches(path, want=_only("id")) for id in batch.column(0).to_pylist()]


def has_reasoning(path: Path) -> bool:
    """Whether any row of a corpus has reasoning. Raises DataError as `batches`."""
    return any(
        len(batch) > batch.column("reasoning").null_count for _, batch in batches(path, want=_only("id", "reasoning"))
    )


def count(path: Path) -> int:
    """Number of rows, from the file's footer alone. Raises DataError when the file is no parquet file."""
    return int(_parquet(path).metadata.num_rows)


def files(path: Path) -> list[Path]:
    """What a corpus is read from: itself, and behind an index the corpus that holds its rows."""
    chosen = index.read(_parquet(path), path)
    return [path] if chosen is None else [path, chosen.corpus]


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
