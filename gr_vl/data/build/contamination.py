"""Training rows that a benchmark asks about: whoever trains on them measures memory.

A row is contaminated when everything that a benchmark's request shows is found in it: its prompt, nearly or to the
letter, and each of its pictures. The response is not looked at, since the label of the request is learned all the same,
and a benchmark of pictures alone is met by any row that holds the picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gr_vl.data.build import fingerprints
from gr_vl.data.build.duplicates import SLACK, Indices, rows_by_picture
from gr_vl.data.build.features import Corpus


@dataclass(frozen=True)
class Match:
    """A training row and the row of a benchmark that it holds."""

    row: int
    benchmark_row: int
    likeness: float
    """Of the prompts, 1 when the benchmark's is empty."""
    exact: bool
    """Whether prompt and pictures are the same, and not merely alike."""


def find(
    corpus: Corpus, train: Indices, benchmark: Indices, pictures: Sequence[tuple[int, ...]], threshold: float
) -> list[Match]:
    """For each contaminated row among `train` the row of `benchmark` whose prompt is most like its own."""
    search = _Search(corpus, threshold)
    texts = np.array([index for index in benchmark.tolist() if not pictures[index]], np.int64)
    search.texts(train, texts)
    holders = rows_by_picture(pictures, train)
    for index in np.setdiff1d(benchmark, texts).tolist():
        search.pictures(index, [holders.get(found, []) for found in pictures[index]])
    return [search.best[row] for row in sorted(search.best)]


class _Search:
    def __init__(self, corpus: Corpus, threshold: float) -> None:
        self.best: dict[int, Match] = {}
        self._corpus, self._threshold = corpus, threshold

    def texts(self, train: Indices, benchmark: Indices) -> None:
        if not len(train) or not len(benchmark):
            return
        ours, theirs = (fingerprints.bands(self._corpus.prompt_signature[rows]) for rows in (train, benchmark))
        candidates: Mapping[int, set[int]] = {index: set() for index in benchmark.tolist()}
        for band in range(fingerprints.BANDS):
            order = np.argsort(ours[:, band], kind="stable")
            keys = ours[order, band]
            starts, ends = (np.searchsorted(keys, theirs[:, band], side) for side in ("left", "right"))
            for index, start, end in zip(benchmark.tolist(), starts.tolist(), ends.tolist(), strict=True):
                if start < end:
                    candidates[index].update(self._alike(index, train[order[start:end]]))
        for index, rows in candidates.items():
            self._compare(index, sorted(rows))

    def pictures(self, index: int, holders: Sequence[Sequence[int]]) -> None:
        rows = sorted(set(holders[0]).intersection(*holders))
        self._compare(index, rows if not len(self._corpus.prompt(index)) else self._alike(index, np.array(rows, int)))

    def _alike(self, index: int, rows: NDArray[np.int64]) -> list[int]:
        signatures = self._corpus.prompt_signature
        found: list[int] = rows[(signatures[rows] == signatures[index]).mean(1) >= self._threshold - SLACK].tolist()
        return found

    def _compare(self, index: int, rows: Sequence[int]) -> None:
        corpus, prompt = self._corpus, self._corpus.prompt(index)
        for row in rows:
            exact = corpus.request_key[row] == corpus.request_key[index]
            alike = 1.0 if exact or not len(prompt) else fingerprints.likeness(corpus.prompt(row), prompt)
            known = self.best.get(row)
            if alike >= self._threshold and (known is None or (exact, alike) > (known.exact, known.likeness)):
                self.best[row] = Match(row, index, alike, exact)
