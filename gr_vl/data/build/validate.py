"""The checks of a build on any corpus in our columns: which row, which field, why, and what to do."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa

from gr_vl import extras, model_files
from gr_vl.data import arrow, io, measured
from gr_vl.data.build import fingerprints, rows, workers
from gr_vl.data.measured import Measured
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Sample, Task

BATCH = 64
"""Rows a job: with a megabyte of pictures each they still fit into a corner of the memory."""


@dataclass
class Report:
    """What was found in a corpus."""

    rows: int = 0
    findings: list[Broken] = field(default_factory=list)
    by_modality: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    """Usable rows whose request and response another row has, to the letter."""
    tokens: list[Measured] = field(default_factory=list)

    @property
    def reasons(self) -> Counter[str]:
        """Number of findings by field and reason."""
        return Counter(f"{finding.field}: {finding.reason}" for finding in self.findings)


@dataclass(frozen=True)
class Job:
    """Some rows, as Arrow writes them, and who measures them."""

    start: int
    batch: bytes
    schema: bytes
    model: Path | None
    dialect: str | None
    """None where there is neither reasoning to examine nor anything to measure."""


@dataclass(frozen=True)
class Checked:
    """What a worker says of a row."""

    row: int
    id: Any
    problem: Broken | None
    modality: str = ""
    content_key: bytes = b""
    exact_key: bytes = b""
    tokens: Measured | None = None


def validate(
    path: Path, report: Report, *, model: Path | None, dialect: str | None, processes: int = 2
) -> Iterator[int]:
    """Check every row of `path` into `report`; yields the number checked so far.

    With the folder of a model, every usable row is measured as its processor would, into `measured.path_of(path)`.
    Raises DataError when the file is no corpus or cannot be read on, or when the model has no tokenizer or processor.
    """
    if model is not None:
        extras.need("--tokenizer", "torch", "torchvision", "transformers", extra="train")
        model_files.check(model, weights=False)
    ids: set[str] = set()
    contents: set[bytes] = set()
    known = []
    for batch in workers.worked(_jobs(path, model, dialect), check, processes):
        for row in batch:
            report.rows += 1
            found = row.problem
            if found is None and row.id in ids:
                found = Broken("id", row.id, "id of another row", "give every row an id of its own")
            if found is not None:
                report.findings.append(found.at(path.name, row.row, row.id if isinstance(row.id, str) else None))
                continue
            ids.add(row.id)
            report.by_modality[row.modality] += 1
            report.repeated += row.content_key in contents
            contents.add(row.content_key)
            if row.tokens is not None:
                known.append(((row.id, row.exact_key), row.tokens))
        yield report.rows
    report.tokens = [tokens for _, tokens in known]
    if model is not None:
        measured.write(path, encoder(model, str(dialect)).fingerprint, known)


def check(job: Job) -> list[Checked]:
    """Examine, and measure, the rows of a job."""
    schema = pa.ipc.read_schema(pa.py_buffer(job.schema))
    batch, tasks = pa.ipc.read_record_batch(pa.py_buffer(job.batch), schema), io.tasks_in(schema)
    return [_check(number, row, tasks, job) for number, row in enumerate(arrow.listed(batch), job.start)]


@lru_cache
def encoder(model: Path, dialect: str) -> Any:
    """The encoder of a model folder, once a process."""
    from gr_vl.encoding import Encoder

    return Encoder.load(model, dialect)


def _check(number: int, row: Mapping[str, Any], tasks: Sequence[Task], job: Job) -> Checked:
    try:
        sample = io.from_row(row, tasks)
    except Broken as error:
        return Checked(number, row["id"], error)
    examined = rows.examine(sample, job.dialect)
    if isinstance(examined, Broken):
        return Checked(number, row["id"], examined)
    tokens = None if job.model is None else measure(sample, encoder(job.model, str(job.dialect)))
    keys = fingerprints.content_key(sample), fingerprints.exact_key(sample)
    return Checked(number, sample.id, None, sample.modality, *keys, tokens)


def measure(sample: Sample, encoder: Any) -> Measured:
    """The token counts of one sample."""
    prompt = encoder.lengths([sample], targets=False)[0]
    try:
        whole = encoder.lengths([sample], targets=True)[0]
    except DataError:
        whole = None
    return Measured(prompt, encoder.visual_tokens(sample), whole)


def _jobs(path: Path, model: Path | None, dialect: str | None) -> Iterator[Job]:
    for start, batch in io.batches(path, BATCH):
        yield Job(start, batch.serialize().to_pybytes(), batch.schema.serialize().to_pybytes(), model, dialect)
