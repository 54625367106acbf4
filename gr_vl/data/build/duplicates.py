"""Samples that are there twice: the same to the letter, or nearly.

Two samples are near duplicates when their prompts, their responses and their pictures each are. Those with contrary
labels are kept: one word can be the difference between harm and none, and contrast sets are made of such pairs.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from gr_vl.data.build import fingerprints
from gr_vl.data.build.features import Corpus

SLACK = 0.15
"""How far a MinHash may underrate a likeness of 0.8: four standard deviations with 126 hashes."""
COARSE = 4
"""Cells of the side of what pictures are looked up by."""
CONTRAST = 128
"""A picture whose greys span less has its differences judged in proportion: in the dark, all look alike."""
_BLOCK = 1024

Indices = NDArray[np.int64]


def exact(keys: Sequence[bytes]) -> Indices:
    """For each row the first with the same key, which is itself when it is the first."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, index) for index, key in enumerate(keys)], np.int64)


def contrary(a: Mapping[str, str], b: Mapping[str, str]) -> bool:
    """Whether two rows disagree on a label that both know."""
    return any(a[task] != b[task] for task in a.keys() & b.keys())


def picture_classes(thumbnails: NDArray[np.uint8], tolerance: int) -> Indices:
    """For each picture the number of its class: pictures that differ by at most `tolerance`, directly or in a chain."""
    if not len(thumbnails):
        return np.zeros(0, np.int64)
    unique, inverse = np.unique(thumbnails, axis=0, return_inverse=True)
    leader = np.arange(len(unique))
    span = unique.max(1).astype(np.int16) - unique.min(1)
    allowed = tolerance * np.minimum(span / CONTRAST, 1)
    # One by one, and classes that are known at once: of pictures that are all alike, the pairs would fill the memory.
    for index, found in enumerate(_candidates(unique, tolerance)):
        rest = found[(found > index) & (leader[found] != leader[index])]
        for block in np.split(rest, range(_BLOCK, len(rest), _BLOCK)):
            apart = np.abs(unique[block].astype(np.int16) - unique[index]).max(1, initial=0)
            same = leader[block[apart <= np.minimum(allowed[block], allowed[index])]]
            if len(same):
                leader[np.isin(leader, same)] = leader[index]
    return leader[inverse.reshape(-1)]


def _candidates(thumbnails: NDArray[np.uint8], tolerance: int) -> Iterator[Indices]:
    """For each picture those whose cells' means differ by at most the tolerance, itself included."""
    step = fingerprints.SIDE // COARSE
    means = thumbnails.reshape(-1, COARSE, step, COARSE, step).mean((2, 4), dtype=np.float32)
    points = means.reshape(len(thumbnails), -1)
    tree = cKDTree(points)
    for point in points:
        # Where no cell differs by more than the tolerance, no mean of cells does: no pair is missed.
        yield np.array(tree.query_ball_point(point, tolerance + 0.01, p=np.inf), np.int64)


def picture_sets(corpus: Corpus, tolerance: int) -> list[tuple[int, ...]]:
    """The classes of each row's pictures, in their order."""
    classes = picture_classes(corpus.thumbnails, tolerance).tolist()
    ends = np.cumsum(corpus.pictures)
    return [tuple(classes[end - number : end]) for end, number in zip(ends, corpus.pictures, strict=True)]


class Clusters:
    """Near duplicates among some rows of a corpus, in chains, each led by its first row."""

    def __init__(self, corpus: Corpus, among: Indices, pictures: Sequence[tuple[int, ...]], threshold: float) -> None:
        self.leader = np.arange(len(corpus))
        """For each row the first of its cluster."""
        self.contrasts = 0
        """Pairs of near duplicates with contrary labels."""
        self._corpus, self._threshold, self._labels = corpus, threshold, list(corpus.labels)
        self._signatures = np.minimum(corpus.prompt_signature, corpus.response_signature)
        sets = {found: number for number, found in enumerate(dict.fromkeys(pictures))}
        salt = np.array([sets[pictures[index]] for index in among], np.uint64)
        self._bands = fingerprints.bands(self._signatures)
        for band, column in enumerate(self._bands[among].T):
            for bucket in _buckets(column * np.uint64(2 * len(sets) + 1) + salt, among):
                self._join(bucket, band, pictures)

    def _join(self, rows: Indices, band: int, pictures: Sequence[tuple[int, ...]]) -> None:
        bands = self._bands[:, :band]
        for place, index in enumerate(rows[:-1].tolist()):
            rest = rows[place + 1 :]
            rest = rest[self.leader[rest] != self.leader[index]]
            # Those that share an earlier band were compared there: to remember every pair would fill the memory.
            rest = rest[(bands[rest] != bands[index]).all(1)]
            alike = (self._signatures[rest] == self._signatures[index]).mean(1) >= self._threshold - SLACK
            for other in rest[alike].tolist():
                if pictures[index] == pictures[other]:
                    self._compare(index, other)

    def _compare(self, index: int, other: int) -> None:
        first, second = sorted(int(self.leader[row]) for row in (index, other))
        if first == second or min(_likenesses(self._corpus, index, other)) < self._threshold:
            return
        if contrary(self._labels[first], self._labels[second]):
            self.contrasts += 1
            return
        self.leader[self.leader == second] = first
        # What a whole cluster says: a row without a label must not tie together two that disagree.
        self._labels[first] = {**self._labels[second], **self._labels[first]}


def _likenesses(corpus: Corpus, a: int, b: int) -> tuple[float, float]:
    prompts = fingerprints.likeness(corpus.prompt(a), corpus.prompt(b))
    return prompts, fingerprints.likeness(corpus.response(a), corpus.response(b))


def _buckets(keys: NDArray[np.uint64], among: Indices) -> Iterator[Indices]:
    """Rows that share a key, in order, for every key that more than one has."""
    order = np.argsort(keys, kind="stable")
    ends = np.flatnonzero(np.diff(keys[order])) + 1
    starts, ends = np.r_[0, ends], np.r_[ends, len(keys)]
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        if end - start > 1:
            yield among[order[start:end]]


def rows_by_picture(pictures: Sequence[tuple[int, ...]], among: Indices) -> dict[int, list[int]]:
    """The rows that hold a picture of each class."""
    holders: dict[int, list[int]] = defaultdict(list)
    for index in among.tolist():
        for found in set(pictures[index]):
            holders[found].append(index)
    return holders
