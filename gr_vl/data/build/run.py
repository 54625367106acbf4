"""Build a corpus: read and examine every source, compare all rows, draw, split, write.

Sources are read twice. The first time yields shards (`features.py`), which are kept in `work/` and never made again;
the second time copies the chosen rows. A killed build goes on with the shards that it has, and nothing that is written
depends on when it stopped, on the number of workers, or on the clock: the files are the same byte for byte.
"""

import fcntl
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from gr_vl import dialects
from gr_vl.data import io, measured, quarantine
from gr_vl.data.build import features, fingerprints, manifest, selection, workers
from gr_vl.data.build.features import Chunk, Item, Job
from gr_vl.data.build.recipe import Ingredient, Recipe
from gr_vl.data.build.watch import Watch
from gr_vl.data.sources.base import Source
from gr_vl.errors import ConfigError, DataError
from gr_vl.launch import State
from gr_vl.schema import Sample

CHUNK, CHUNK_BYTES = 256, 16 * 2**20
"""Rows of a shard, and bytes of its images and texts."""
SAY_EVERY = 256

Lookup = Callable[[str], Source]


def build(recipe: Recipe, out: Path, lookup: Lookup, *, processes: int = 2) -> Iterator[State]:
    """Build the corpus in `out`; yields how far it is. Run again to go on after a kill.

    It is done when `manifest.json` stands there. Raises DataError when a folder cannot be read or a source holds more
    unusable rows than the recipe allows, ConfigError when a source is unknown or another build writes to `out`.
    """
    found = {item.name: lookup(item.name) for item in (*recipe.ingredients, *recipe.benchmarks)}
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        _forget(recipe, out)
        watch = Watch()
        read = _Reading(recipe, out, {name: source.read for name, source in found.items()})
        yield from _about(watch, "reading", read.examine(processes), _published(found.values()))
        yield watch.state(sum(read.rows.values()), None, "comparing")
        corpus = features.Corpus([(name, paths) for name, paths in read.shards.items()])
        chosen = selection.select(recipe, corpus)
        read.check_shares(chosen.quarantined)
        yield from _about(watch, "writing", _write(recipe, out, read, corpus, chosen), len(chosen.kept))
        yield watch.state(len(chosen.kept), None, "hashing")
        manifest.write(recipe, out, found, read.rows, read.quarantined, corpus, chosen)
        yield watch.state(len(chosen.kept), None, f"{len(chosen.kept):,} rows kept")


def _about(watch: Watch, note: str, steps: Iterator[str], total: int | None) -> Iterator[State]:
    for done, name in enumerate(steps, 1):
        if done % SAY_EVERY == 1:
            yield watch.state(done, total, f"{note} {name}")


def _published(found: Iterable[Source]) -> int | None:
    rows = [source.published.get("rows") for source in found]
    return None if None in rows else sum(filter(None, rows))


class _Reading:
    """The sources of a recipe, and what the first reading of them gave."""

    def __init__(self, recipe: Recipe, out: Path, read: dict[str, Callable[[Path], Iterator[Item]]]) -> None:
        self.recipe, self.out, self.read = recipe, out, read
        self.shards: dict[str, list[Path]] = {}
        self.rows: dict[str, int] = {}
        self.quarantined: dict[str, list[dict[str, Any]]] = {}

    def examine(self, processes: int) -> Iterator[str]:
        """Make the shards that are missing; yields a source's name for each of its rows."""
        work = self.out / "work"
        work.mkdir(exist_ok=True)
        for left in work.glob("*.part"):
            left.unlink()
        # In order of their rows, so that what was read is what was examined, but for the jobs in flight.
        jobs = (job for item in self._items() for job in self._missing(item, work))
        for source, rows in workers.worked(jobs, _make, processes):
            yield from [source] * rows
        for name, paths in self.shards.items():
            counts = [features.counted(features.read_shard(path)) for path in paths]
            self.rows[name] = sum(rows for rows, _ in counts)
            self.quarantined[name] = [row for _, bad in counts for row in bad]
        self.check_shares({})

    def _items(self) -> Iterator[Ingredient]:
        yield from self.recipe.ingredients
        yield from self.recipe.benchmarks

    def _missing(self, item: Ingredient, work: Path) -> Iterator[tuple[str, Job | None, int]]:
        paths, start = self.shards.setdefault(item.name, []), 0
        for rows in workers.chunks(self.read[item.name](item.folder), _weight, most=CHUNK, heaviest=CHUNK_BYTES):
            chunk = Chunk(item.folder.name, start, rows, self.recipe.dialect)
            path = work / f"{chunk.name}.arrow"
            paths.append(path)
            start += len(rows)
            yield item.name, None if features.is_whole(path) else Job(chunk, path), len(rows)
        if not start:
            raise DataError(f"{item.folder}: {item.name} has no rows there; correct the folder")

    def check_shares(self, more: dict[str, list[dict[str, Any]]]) -> None:
        """Write the quarantine file, and stop when it holds too many rows of a source."""
        for name, rows in more.items():
            self.quarantined[name] += rows
        path = self.out / "quarantine.jsonl"
        quarantine.write(path, ({"source": name, **row} for name, rows in self.quarantined.items() for row in rows))
        for name, rows in self.quarantined.items():
            if len(rows) > self.recipe.max_bad_share * self.rows[name]:
                reasons = Counter(row["reason"] for row in rows).most_common()
                raise DataError(
                    f"{name}: {len(rows):,} of {self.rows[name]:,} rows cannot be used "
                    f"({', '.join(f'{reason}: {number:,}' for reason, number in reasons[:5])}); mend the rows in "
                    f"{path}, or raise max_bad_share={self.recipe.max_bad_share:g}"
                )

    def again(self, item: Ingredient) -> Iterator[tuple[int, Item]]:
        """Every row of a source, read a second time."""
        return enumerate(self.read[item.name](item.folder))


def _make(job: tuple[str, Job | None, int]) -> tuple[str, int]:
    name, shard, rows = job
    if shard is not None:
        features.write_shard(shard)
    return name, rows


def _weight(item: Item) -> int:
    if not isinstance(item, Sample):
        return 0
    return sum(map(len, item.images)) + len(item.prompt) + len(item.response or "") + len(item.reasoning or "")


def _write(
    recipe: Recipe, out: Path, read: _Reading, corpus: features.Corpus, chosen: selection.Selection
) -> Iterator[str]:
    """Copy the chosen rows into their splits; yields a source's name for each."""
    splits = {(corpus.source[row], int(corpus.row[row])): name for name, rows in chosen.splits.items() for row in rows}
    keys = {(corpus.source[row], int(corpus.row[row])): corpus.content_key[row] for row in chosen.kept}
    guard = dialects.spec(recipe.dialect)
    with ExitStack() as stack:
        writers = {name: stack.enter_context(io.Writer(out / f"{name}.parquet", guard)) for name in recipe.splits}
        for item in recipe.ingredients:
            for row, sample in read.again(item):
                place = (item.name, row)
                if place not in splits:
                    continue
                if not isinstance(sample, Sample) or fingerprints.content_key(sample) != keys[place]:
                    raise DataError(f"{item.folder}: row {row} has changed since it was examined; run again")
                writers[splits[place]].add(sample)
                yield item.name


def _forget(recipe: Recipe, out: Path) -> None:
    """Remove the last build's manifest, and its splits that this one has not: they must not pass for this build's."""
    path = out / manifest.NAME
    if not path.is_file():
        return
    for split in map(out.joinpath, json.loads(path.read_text(encoding="utf-8"))["outputs"]):
        if split.stem not in recipe.splits:
            split.unlink(missing_ok=True)
            measured.path_of(split).unlink(missing_ok=True)
    path.unlink()


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    with (out / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{out}: another build writes there; wait for it, or choose another folder") from None
        yield
