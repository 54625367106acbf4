"""A shard: what is known of a run of rows, without their pictures, in a file named by what went into it.

Finding that out is the expensive part of a build, so a shard that exists is not made again: after a kill, when sources
have grown, or with other settings for splits and draws. Its name is a hash of every byte of its rows.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from gr_vl.data.build import fingerprints, rows
from gr_vl.data.build.files import whole
from gr_vl.errors import Broken
from gr_vl.schema import Sample

Item: TypeAlias = Sample | Broken

VERSION = 3
"""Part of every name: raise it when the same rows give another shard."""

_RESPONSE = np.uint32(0x5BD1E995)
_WIDTH = 4 * fingerprints.BANDS * fingerprints.ROWS
SCHEMA = pa.schema(
    [
        ("row", pa.int32()),
        ("id", pa.string()),
        ("content_key", pa.binary(16)),
        ("request_key", pa.binary(16)),
        ("modality", pa.string()),
        ("labels", pa.map_(pa.string(), pa.string())),
        ("prompt_signature", pa.binary(_WIDTH)),
        ("response_signature", pa.binary(_WIDTH)),
        ("prompt_shingles", pa.list_(pa.uint32())),
        ("response_shingles", pa.list_(pa.uint32())),
        ("thumbnails", pa.list_(pa.binary(fingerprints.SIDE**2))),
    ]
)


@dataclass(frozen=True)
class Chunk:
    """A run of rows of one source."""

    folder: str
    """The source's, as the recipe names it."""
    start: int
    """The first row's place in the order in which the source is read."""
    items: Sequence[Item]
    dialect: str
    """The grammar that their reasoning is examined under."""

    @property
    def name(self) -> str:
        """Hash of everything that decides what the shard holds."""
        digest = hashlib.blake2b(f"{VERSION}/{self.dialect}/{self.folder}/{self.start}".encode(), digest_size=16)
        for item in self.items:
            key = fingerprints.exact_key(item) if isinstance(item, Sample) else json.dumps(item.record()).encode()
            digest.update(key)
        return digest.hexdigest()


@dataclass(frozen=True)
class Job:
    """A shard to be made."""

    chunk: Chunk
    path: Path


def write_shard(job: Job) -> int:
    """Make a shard and return its number of rows; the file appears only when it is whole."""
    known, quarantined = [], []
    for row, item in enumerate(job.chunk.items, job.chunk.start):
        if isinstance(item, Broken):
            quarantined.append(item.record())
        elif isinstance(found := rows.examine(item, job.chunk.dialect), Broken):
            quarantined.append(found.at(job.chunk.folder, row, item.id).record())
        else:
            known.append(_features(row, item, found))
    notes = {"rows": str(len(job.chunk.items)), "quarantined": json.dumps(quarantined)}
    table = pa.Table.from_pylist(known, schema=SCHEMA.with_metadata(notes))
    with whole(job.path) as part, pa.OSFile(str(part), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    return len(job.chunk.items)


def read_shard(path: Path) -> pa.Table:
    """A shard, mapped: what is not looked at is not read."""
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def is_whole(path: Path) -> bool:
    """Whether a shard is there to its end: a machine that lost power may leave an empty file, or a part of one."""
    try:
        read_shard(path)
    except (pa.ArrowException, OSError):
        return False
    return True


def counted(table: pa.Table) -> tuple[int, list[dict[str, Any]]]:
    """Rows that a shard was made of, and those of them that are unusable."""
    notes = table.schema.metadata
    return int(notes[b"rows"]), json.loads(notes[b"quarantined"])


def _features(row: int, sample: Sample, thumbnails: Sequence[bytes]) -> dict[str, Any]:
    prompt, response = (fingerprints.shingles(text) for text in (sample.prompt, sample.response or ""))
    return {
        "row": row,
        "id": sample.id,
        "content_key": fingerprints.content_key(sample),
        "request_key": fingerprints.request_key(sample),
        "modality": sample.modality,
        "labels": sample.labels,
        "prompt_signature": fingerprints.signature(prompt).tobytes(),
        # Other hashes than the prompt's: together they are the signature of both texts, told apart.
        "response_signature": fingerprints.signature(response ^ _RESPONSE).tobytes(),
        "prompt_shingles": prompt,
        "response_shingles": response,
        "thumbnails": list(thumbnails),
    }


class Corpus:
    """The features of many sources' rows, in order, as columns."""

    def __init__(self, sources: Sequence[tuple[str, Sequence[Path]]]) -> None:
        tables = [(name, read_shard(path)) for name, paths in sources for path in paths]
        table = pa.concat_tables([SCHEMA.empty_table(), *(table.replace_schema_metadata() for _, table in tables)])
        self.source = [name for name, table in tables for _ in range(len(table))]
        self.row = table["row"].to_numpy()
        self.id: list[str] = table["id"].to_pylist()
        self.content_key: list[bytes] = table["content_key"].to_pylist()
        self.request_key: list[bytes] = table["request_key"].to_pylist()
        self.modality: list[str] = table["modality"].to_pylist()
        self.labels: list[dict[str, str]] = [dict(row) for row in table["labels"].to_pylist()]
        self.prompt_signature = _numbers(table["prompt_signature"], np.uint32)
        self.response_signature = _numbers(table["response_signature"], np.uint32)
        self._prompt, self._response = (table[f"{text}_shingles"].combine_chunks() for text in ("prompt", "response"))
        pictures = table["thumbnails"].combine_chunks()
        self.thumbnails = _numbers(pictures.flatten(), np.uint8)
        self.pictures = np.diff(pictures.offsets.to_numpy())
        """Number of pictures of each row; their thumbnails follow each other."""

    def __len__(self) -> int:
        return len(self.source)

    def prompt(self, index: int) -> fingerprints.Hashes:
        """The shingles of a row's prompt."""
        return np.asarray(self._prompt[index].values)

    def response(self, index: int) -> fingerprints.Hashes:
        """The shingles of a row's response; none where there is no response."""
        return np.asarray(self._response[index].values)


def _numbers(column: Any, kind: Any) -> Any:
    """A column of binaries of one width as a matrix."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    width = array.type.byte_width
    start = array.offset * width
    data = memoryview(array.buffers()[1] or b"")[start : start + len(array) * width]
    return np.frombuffer(data, kind).reshape(len(array), width // np.dtype(kind).itemsize)
