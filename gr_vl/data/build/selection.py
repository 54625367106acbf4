"""From everything that was read to what is kept: duplicates out, benchmarks out, draws, splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gr_vl.data.build import contamination, duplicates, sampling
from gr_vl.data.build.contamination import Match
from gr_vl.data.build.duplicates import Indices
from gr_vl.data.build.features import Corpus
from gr_vl.data.build.recipe import Recipe
from gr_vl.errors import Broken

EXACT, NEAR, CONTAMINATED = "exact duplicate", "near duplicate", "contaminated"


@dataclass(frozen=True)
class Removed:
    """A training row that is left out, and the row because of which."""

    row: int
    reason: str
    of: int


@dataclass
class Selection:
    """What becomes of each row; rows are places in the `Corpus`."""

    splits: dict[str, list[int]] = field(default_factory=dict)
    removed: list[Removed] = field(default_factory=list)
    quarantined: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By source: rows whose id another row has."""
    matches: dict[str, list[Match]] = field(default_factory=dict)
    """By benchmark: the training rows that it asks about."""
    contrary: int = 0
    """Exact duplicates with contrary labels, of which the first is kept."""
    contrasts: int = 0
    """Pairs of near duplicates with contrary labels, of which both are kept."""
    missing: dict[str, int] = field(default_factory=dict)
    """Rows that a draw asked for and did not find, by its key in the recipe."""

    @property
    def kept(self) -> list[int]:
        """The rows of all splits, in order."""
        return sorted(row for rows in self.splits.values() for row in rows)


def select(recipe: Recipe, corpus: Corpus) -> Selection:
    """Decide over every row. Order matters only where two rows are duplicates: the first stays."""
    found = Selection()
    rows = _rows_of(corpus, [item.name for item in recipe.ingredients])
    rows = _without_taken_ids(found, corpus, _without_copies(found, corpus, rows))
    pictures = duplicates.picture_sets(corpus, recipe.near_image)
    # Before near duplicates: a row must not be spared because it is like one that a benchmark asks about.
    for benchmark in recipe.benchmarks:
        theirs = _rows_of(corpus, [benchmark.name])
        found.matches[benchmark.name] = contamination.find(corpus, rows, theirs, pictures, recipe.near_text)
    first: dict[int, Match] = {}
    for match in (match for matches in found.matches.values() for match in matches):
        first.setdefault(match.row, match)
    rows = _without(found, rows, CONTAMINATED, {row: match.benchmark_row for row, match in first.items()})
    clusters = duplicates.Clusters(corpus, rows, pictures, recipe.near_text)
    found.contrasts = clusters.contrasts
    followers = {row: int(clusters.leader[row]) for row in rows.tolist() if clusters.leader[row] != row}
    rows = _without(found, rows, NEAR, followers)
    drawn = _draw(found, recipe, corpus, rows)
    found.splits = {name: [] for name in recipe.splits}
    for row in drawn:
        found.splits[sampling.split_of(recipe.seed, corpus.request_key[row], recipe.splits)].append(row)
    return found


def _rows_of(corpus: Corpus, names: Sequence[str]) -> Indices:
    wanted = set(names)
    return np.array([row for row, source in enumerate(corpus.source) if source in wanted], np.int64)


def _without(found: Selection, rows: Indices, reason: str, because: Mapping[int, int]) -> Indices:
    found.removed += [Removed(row, reason, of) for row, of in sorted(because.items())]
    return rows[~np.isin(rows, np.array(list(because), np.int64))]


def _without_copies(found: Selection, corpus: Corpus, rows: Indices) -> Indices:
    first = rows[duplicates.exact([corpus.content_key[row] for row in rows.tolist()])]
    copies = {row: of for row, of in zip(rows.tolist(), first.tolist(), strict=True) if row != of}
    found.contrary = sum(duplicates.contrary(corpus.labels[row], corpus.labels[of]) for row, of in copies.items())
    return _without(found, rows, EXACT, copies)


def _without_taken_ids(found: Selection, corpus: Corpus, rows: Indices) -> Indices:
    seen: set[str] = set()
    fine = []
    for row in rows.tolist():
        id, source = corpus.id[row], corpus.source[row]
        if id in seen:
            bad = Broken("id", id, "id of another row", "give every row an id of its own")
            found.quarantined.setdefault(source, []).append(bad.at(None, int(corpus.row[row]), id).record())
        else:
            seen.add(id)
            fine.append(row)
    return np.array(fine, np.int64)


def _draw(found: Selection, recipe: Recipe, corpus: Corpus, rows: Indices) -> list[int]:
    by_source: dict[str, list[int]] = {item.name: [] for item in recipe.ingredients}
    for row in rows.tolist():
        by_source[corpus.source[row]].append(row)
    drawn: list[int] = []
    for part in recipe.parts:
        together: list[int] = []
        for item in part.sources:
            # Two purposes: the rows that a source gave have low ranks there, and would be preferred by the part.
            ranks = _ranks(recipe.seed, f"source {item.name}", corpus, by_source[item.name])
            taken, missing = sampling.draw(by_source[item.name], item.draw, ranks, corpus.modality, corpus.labels)
            together += taken
            found.missing |= {f"parts.{part.name}.sources.{item.name}/{cell}": n for cell, n in missing.items()}
        ranks = _ranks(recipe.seed, "part", corpus, together)
        taken, missing = sampling.draw(together, part.draw, ranks, corpus.modality, corpus.labels)
        found.missing |= {f"parts.{part.name}/{cell}": n for cell, n in missing.items()}
        drawn += taken
    return sorted(drawn)


def _ranks(seed: int, purpose: str, corpus: Corpus, rows: Sequence[int]) -> dict[int, float]:
    return {row: sampling.rank(seed, purpose, corpus.content_key[row]) for row in rows}
