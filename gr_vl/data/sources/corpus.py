"""Corpora in our own columns, with labels of any guard's tasks: what one build or one team made, another mixes in."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gr_vl.data.sources import convert
from gr_vl.data.sources.base import Source
from gr_vl.errors import Broken
from gr_vl.schema import Modality, Sample
from gr_vl.tasks import SHARED

NAME = "corpus"


def _read(root: Path) -> Iterator[Sample | Broken]:
    from gr_vl.data import arrow, io

    for path in convert.files(root, "*.parquet"):
        for start, batch in io.batches(path):
            tasks = io.tasks_in(batch.schema)
            for number, row in enumerate(arrow.listed(batch), start):
                try:
                    sample = io.from_row(row, tasks)
                except Broken as error:
                    yield error.at(path.relative_to(root).as_posix(), number)
                else:
                    yield replace(sample, id=f"{NAME}-{sample.id}", source=NAME)


SOURCE = Source(
    name=NAME,
    title="Corpora in our own columns",
    url="docs/data-build.md",
    licence="that of the corpus",
    layout="*.parquet: the columns of gr_vl/data/io.py; the footer names the guard whose tasks have labels",
    tasks=SHARED,
    modalities=tuple(Modality),
    read=_read,
)
