"""From files to samples, with an account of every row: what all converters share."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gr_vl.data import confined, tables
from gr_vl.data.sources.cells import Row
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Sample

Convert = Callable[[Row], Sample | Iterable[Sample]]


def files(root: Path, *patterns: str) -> list[Path]:
    """The files below a folder that match each pattern, in the order of patterns and names.

    A pattern is pathlib's, or several with commas between them, any of which may match. Of several with a | between
    them, which name the same rows, the first that matches anything counts. Raises DataError when there is no such
    folder, or when nothing in it matches a pattern.
    """
    if not root.is_dir():
        raise DataError(f"{root}: no such folder; name the one that holds the download")
    found: dict[Path, None] = {}
    for pattern in patterns:
        paths = next(filter(None, (_matching(root, names) for names in pattern.split("|"))), None)
        if paths is None:
            wanted = re.sub("[|,]", " or ", pattern)
            raise DataError(f"{root}: holds no {wanted}; `gr-vl data list NAME` shows what belongs there")
        found.update(dict.fromkeys(paths))
    return list(found)


def _matching(root: Path, names: str) -> list[Path]:
    return sorted({path for name in names.split(",") for path in confined.files(root, name)})


def reader(source: str, *patterns: str, convert: Convert, **how: Any) -> Callable[[Path], Iterator[Sample | Broken]]:
    """A `Source.read` over every file that matches a pattern; `how` is for `read`."""

    def every(root: Path) -> Iterator[Sample | Broken]:
        seen: set[str] = set()
        for path in files(root, *patterns):
            yield from read(source, root, path, convert, seen, **how)

    return every


def read(
    source: str,
    root: Path,
    path: Path,
    convert: Convert,
    seen: set[str],
    *,
    selects: Callable[[Mapping[str, Any]], bool] = lambda row: True,
    rows: Callable[[Path], Iterable[tables.Item]] = tables.rows,
) -> Iterator[Sample | Broken]:
    """The samples of the rows of one file that `selects` admits, or why there are none; `seen` as in `converted`."""
    file = path.relative_to(root).as_posix()
    for number, item in enumerate(rows(path)):
        if isinstance(item, Broken):
            yield item.at(file, number)
        elif selects(item):
            yield from converted(Row(item, source, root, file, number), convert, seen)


def converted(row: Row, convert: Convert, seen: set[str]) -> list[Sample | Broken]:
    """A row's samples, or why there are none; `seen` holds the ids that were given before."""
    try:
        found = convert(row)
        samples = [found] if isinstance(found, Sample) else list(found)
        for sample in samples:
            if sample.id in seen and sample.id == row.id:
                raise Broken("id", None, f"none, and another row is called {sample.id[:80]!r}", "give it an id")
            if sample.id in seen:
                raise Broken("id", sample.id, "another row before it has this id", "keep one of them")
    except Broken as error:
        return [error.at(row.file, row.number)]
    seen.update(sample.id for sample in samples)
    return list(samples)
