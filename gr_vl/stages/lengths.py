"""No row is ever cut: one that does not fit goes to a quarantine file with its reason, and is counted."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gr_vl.data import io
from gr_vl.encoding import Encoder
from gr_vl.errors import DataError
from gr_vl.schema import Sample

MAX_SHARE = 0.1
"""A corpus of which more than this does not fit was built for another length: better to stop than to go on."""


@dataclass(frozen=True)
class Kept:
    """The rows that a stage works on."""

    path: Path
    rows: int
    quarantined: dict[str, int]
    """Number of rows left out, by reason."""


def fit(corpus: Path, folder: Path, encoder: Encoder, limit: int, key: str, *, targets: bool, least: int = 1) -> Kept:
    """Leave out the rows over `limit` tokens or without a readable image; write the rest when anything was left out.

    Raises DataError when more than `MAX_SHARE` of the rows are left out, or fewer than `least` remain.
    """
    samples = io.read(corpus)
    reasons = _reasons(samples, encoder, limit, key, targets)
    kept = [sample for sample, reason in zip(samples, reasons, strict=True) if reason is None]
    counts = dict(Counter(reason.split(":")[0] for reason in reasons if reason is not None))
    if not counts:
        return Kept(corpus, len(samples), {})
    folder.mkdir(parents=True, exist_ok=True)
    rejected = [{"id": s.id, "reason": r} for s, r in zip(samples, reasons, strict=True) if r is not None]
    (folder / "quarantine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rejected))
    if len(rejected) > MAX_SHARE * len(samples) or len(kept) < least:
        raise DataError(
            f"{corpus}: {len(rejected)} of {len(samples)} rows cannot be used ({_words(counts)}); "
            f"raise {key}={limit} or mend the rows listed in {folder / 'quarantine.jsonl'}"
        )
    path = folder / "kept.parquet"
    io.write(path, kept)
    return Kept(path, len(kept), counts)


def _words(counts: dict[str, int]) -> str:
    return ", ".join(f"{reason}: {number}" for reason, number in counts.items())


def _reasons(samples: Sequence[Sample], encoder: Encoder, limit: int, key: str, targets: bool) -> list[str | None]:
    reasons: list[str | None] = []
    for sample in samples:
        try:
            length = encoder.lengths([sample], targets=targets)[0]
        except DataError as error:
            reasons.append(f"unusable: {error}")
            continue
        reasons.append(f"too long: {length} tokens, {key}={limit}" if length > limit else None)
    return reasons
