"""What samples are compared by: keys for sameness, word shingles and thumbnails for likeness.

MinHash (Broder 1997) finds texts that share most of their shingles, and the shingles then decide. Pictures are compared
by grey thumbnails and not by the usual 64-bit hashes: those cannot tell a meme from the same meme with other words, and
in a corpus of hateful memes that difference is the label.
"""

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gr_vl.data import images
from gr_vl.data.text import whole
from gr_vl.schema import Sample

Hashes: TypeAlias = NDArray[np.uint32]

SHINGLE = 3
"""Words a shingle: one changed word of 40 leaves a likeness of 0.85, one of 10 leaves 0.45."""
BANDS, ROWS = 21, 6
"""Of 126 hashes. Texts with a likeness of 0.8 agree on a whole band in 99.8% of cases, with 0.5 in 28%."""
SIDE = 32
"""Cells of a thumbnail's side."""

# Scripts without spaces: each sign is a word, or a sentence would be one.
_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(f"[{_DENSE}]|[^\\W{_DENSE}]+")
_BASE, _MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)
_DRAWN = np.frombuffer(hashlib.shake_128(b"gr_vl minhash").digest(16 * BANDS * ROWS), "<u8").reshape(2, -1)
_FACTORS, _OFFSETS = _DRAWN[0] | np.uint64(1), _DRAWN[1]
_BLOCK = 1024
_NONE = np.uint32(0xFFFFFFFF)


def normal(text: str) -> str:
    """The text without what copies differ in: case, white space, compatibility forms.

    >>> normal("  A\\tB\\n c ")
    'a b c'
    """
    return " ".join(unicodedata.normalize("NFKC", whole(text)).casefold().split())


def request_key(sample: Sample) -> bytes:
    """16 bytes that two samples share when their users sent the same; decides the split."""
    return _digest([normal(sample.prompt).encode(), *_pictures(sample)])


def content_key(sample: Sample) -> bytes:
    """16 bytes that two samples share when request, response and policy are the same; decides what is drawn."""
    response = b"\0" if sample.response is None else normal(sample.response).encode()
    policy = [] if sample.policy is None else [normal(sample.policy).encode()]
    return _digest([request_key(sample), response, *policy])


def exact_key(sample: Sample) -> bytes:
    """16 bytes that change with every field of the sample."""
    texts = [sample.id, sample.source, sample.prompt, sample.response, sample.reasoning, sample.policy]
    labels = [repr(sorted((labels or {}).items())) for labels in (sample.labels, sample.taught)]
    fields = [b"\0" if text is None else b"\1" + whole(text).encode() for text in (*texts, *labels)]
    return _digest([*fields, *_pictures(sample)])


def shingles(text: str) -> Hashes:
    """Hashes of every three words in a row, sorted, each once. A text of fewer words, or of none, is one shingle."""
    plain = normal(text)
    words = [zlib.crc32(word.encode()) for word in _WORD.findall(plain)]
    if not words:
        return np.array([zlib.crc32(plain.encode())] if plain else [], np.uint32)
    hashes, width = np.array(words, np.uint64), min(SHINGLE, len(words))
    rolled = np.zeros(len(words) - width + 1, np.uint64)
    for offset in range(width):
        rolled = rolled * _BASE + hashes[offset : len(words) - width + 1 + offset]
    return np.unique(((rolled ^ (rolled >> np.uint64(29))) * _MIX >> np.uint64(32)).astype(np.uint32))


def signature(hashes: Hashes) -> Hashes:
    """The MinHash of a set; two sets agree in about as many places as their Jaccard similarity says."""
    least = np.full(BANDS * ROWS, _NONE)
    for start in range(0, len(hashes), _BLOCK):  # a field of a megabyte has 170,000 shingles
        block = hashes[start : start + _BLOCK, None].astype(np.uint64)
        least = np.minimum(least, (block * _FACTORS + _OFFSETS >> np.uint64(32)).min(0).astype(np.uint32))
    return least


def bands(signatures: Hashes) -> NDArray[np.uint64]:
    """One hash for each band of each row's signature."""
    parts = signatures.reshape(len(signatures), BANDS, ROWS).astype(np.uint64)
    mixed = np.full(parts.shape[:2], 1, np.uint64)
    for row in range(ROWS):
        mixed = (mixed ^ parts[:, :, row]) * _MIX
        mixed ^= mixed >> np.uint64(31)
    return mixed


def likeness(a: Hashes, b: Hashes) -> float:
    """Jaccard similarity of two sets; 1 for two empty ones."""
    if not len(a) and not len(b):
        return 1.0
    common = len(np.intersect1d(a, b, assume_unique=True))
    return common / (len(a) + len(b) - common)


def thumbnail(data: bytes) -> bytes:
    """32 x 32 greys of a picture, row by row. Raises DataError when it cannot be decoded whole."""
    shrink = images.shrink_for(images.size(data), (2 * SIDE, 2 * SIDE))
    picture = images.decode(data, shrink=shrink).convert("L")
    # Overlapping cells: of synthetic pictures saved anew in other sizes they differ by at most 9, with BOX by up to 44.
    return picture.resize((SIDE, SIDE), Image.Resampling.BILINEAR).tobytes()


def _pictures(sample: Sample) -> list[bytes]:
    return [hashlib.blake2b(data, digest_size=16).digest() for data in sample.images]


def _digest(parts: Iterable[bytes]) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()
