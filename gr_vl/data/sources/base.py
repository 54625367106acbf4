"""What a source of samples is: a corpus or benchmark in the shape in which its authors publish it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gr_vl.errors import Broken
from gr_vl.schema import Modality, Sample, Task


@dataclass(frozen=True)
class Source:
    """A public corpus or benchmark, and how its files become samples."""

    name: str
    """What recipes call it, and `Sample.source` unless there are `origins`."""
    title: str
    url: str
    licence: str
    layout: str
    """Which files a user has after the download, relative to the folder that is read."""
    tasks: tuple[Task, ...]
    modalities: tuple[Modality, ...]
    read: Callable[[Path], Iterator[Sample | Broken]]
    """Everything in a folder, in a fixed order and one row at a time. DataError when a file is missing or no such
    file at all; a row that cannot be used is yielded as `Broken`, never raised and never left out."""
    published: Mapping[str, int] = field(default_factory=dict)
    """Counts that its paper or card states, under the names of `gr_vl.data.counts`: rows, a modality (text), a task
    (response: its labelled samples), a class of a task (response/harmful)."""
    origins: tuple[str, ...] = ()
    """What `Sample.source` says instead of the name, for a collection that tells where its rows come from."""
    benchmark: bool = False
    """Whether it is for evaluation alone: training corpora are cleaned of its samples."""
    selects: str = "every row"
    """Which rows of its files belong to the source; others are not refused, they are none of its rows."""
    unverified: str = ""
    """What nobody has checked against the real files, or where a rule is ours and not the authors'."""
