"""An index: rows of a corpus by number and id, in place of a copy of them with their images.

A parquet file like the corpus itself, so that whatever reads a corpus reads an index. Its footer names the corpus by
the way from the index to it, where both are in one run: a run folder that is moved as a whole still works.
"""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gr_vl.data.build.files import whole
from gr_vl.errors import DataError

SCHEMA = pa.schema([("row", pa.int64()), ("id", pa.string())])
_CORPUS = b"gr_vl.corpus"


@dataclass(frozen=True)
class Index:
    """The rows that an index names."""

    path: Path
    corpus: Path
    """The file that holds them; never an index itself."""
    rows: Any
    ids: Any

    def taken(self, batches: Iterable[Any]) -> Iterator[Any]:
        """The rows out of all batches of the corpus, which have its ids, as batches in the index's order.

        Where that is not the corpus's own order, all of them are in memory at once. Raises DataError when the corpus
        has another sample in the place of one, or none.
        """
        order = np.argsort(self.rows, kind="stable")
        found = self._in_order(batches, order)
        if (order[1:] > order[:-1]).all():
            yield from found
        else:
            single = (batch.slice(place, 1) for batch in found for place in range(len(batch)))
            placed = dict(zip(order.tolist(), single, strict=True))
            yield from (placed[place] for place in range(len(order)))

    def _in_order(self, batches: Iterable[Any], order: Any) -> Iterator[Any]:
        rows, done, start = self.rows[order], 0, 0
        for batch in batches:
            end = int(np.searchsorted(rows, start + len(batch)))
            part = batch.take(pa.array(rows[done:end] - start))
            if part.column("id").to_pylist() != self.ids.take(pa.array(order[done:end])).to_pylist():
                break
            done, start = end, start + len(batch)
            yield part
            if done == len(rows):
                return
        if len(rows):
            raise DataError(f"{self.path}: {self.corpus} has other rows by now; make the index again")


def write(path: Path, corpus: Path, chosen: Iterable[tuple[int, str]]) -> Path:
    """Name rows of a corpus, or of another index of it, each by number and id, in this order; returns `path`."""
    pairs = list(chosen)
    rows = np.array([row for row, _ in pairs], np.int64)
    if (other := read(pq.ParquetFile(corpus), corpus)) is not None:
        corpus, rows = other.corpus, other.rows[rows]
    with whole(path) as part:
        way = os.path.relpath(corpus, path.parent)
        # Out of the run, which may be moved alone; and `..` out of a linked folder leads elsewhere.
        if way.startswith("../../../") or not (path.parent / way).exists():
            way = str(corpus.resolve())
        table = pa.table([rows, [id for _, id in pairs]], SCHEMA.with_metadata({_CORPUS: way}))
        pq.write_table(table, part)
    return path


def read(file: Any, path: Path) -> Index | None:
    """The index in an open parquet file; None when it is none. Raises DataError when its corpus is not there."""
    way = (file.schema_arrow.metadata or {}).get(_CORPUS)
    if way is None:
        return None
    corpus = path.parent / os.fsdecode(way)
    if not corpus.is_file():
        raise DataError(f"{path}: names rows of {corpus}, where no file is; bring it back, or run the stage again")
    table = file.read()
    return Index(path, corpus, table["row"].to_numpy(), table["id"].combine_chunks())
