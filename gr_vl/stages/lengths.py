"""No row is ever cut: one that does not fit goes to a quarantine file with its reason, and is counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gr_vl.data import images, index, io, measured, quarantine
from gr_vl.data.build.fingerprints import exact_key
from gr_vl.data.measured import Measured
from gr_vl.encoding import Encoder
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Sample

MAX_SHARE = 0.1
"""A corpus of which more than this does not fit was built for another length: better to stop than to go on."""

REPEATED = "id of an earlier row"


@dataclass(frozen=True)
class Kept:
    """The rows that a stage works on."""

    path: Path
    rows: int
    quarantined: dict[str, int]
    """Number of rows left out, by reason."""
    unreasoned: int = 0
    """Number of rows left out since a target needs reasoning, of which they have none."""
    unasked: Mapping[str, str] = field(default_factory=dict, compare=False)
    """Why each sample that was left out cannot be asked, by id: no readable image, or over the limit."""


def fit(
    corpus: Path,
    folder: Path,
    encoder: Encoder,
    limit: int,
    key: str,
    *,
    targets: bool,
    least: int = 1,
    max_share: float = MAX_SHARE,
) -> Kept:
    """Leave out the rows over `limit` tokens, without a readable image or with an earlier row's id; index the rest.

    Where nothing is left out, the corpus itself is what is kept. For targets, rows without reasoning are left out too,
    and counted apart: a corpus may well have reasoning for some of its questions only.

    What `gr-vl data validate --tokenizer` measured is taken from beside the corpus; other rows are measured here.
    Raises DataError when more than `max_share` of the other rows are left out, or fewer than `least` remain.
    """
    known = measured.read(corpus, encoder.fingerprint)
    kept, rejected, unreasoned, seen = list[tuple[int, str]](), list[Broken](), 0, set[str]()
    for row, sample in enumerate(io.iterate(corpus)):
        if targets and sample.reasoning is None:
            unreasoned += 1
        # Answers, errors and scores are kept by id.
        elif reason := REPEATED if sample.id in seen else _reason(sample, known, encoder, limit, key, targets):
            rejected.append(unfit(reason).at(corpus.name, row, sample.id))
        else:
            kept.append((row, sample.id))
        seen.add(sample.id)
    counts = dict(Counter(bad.reason.split(":")[0] for bad in rejected))
    if not counts and not unreasoned:
        return Kept(corpus, len(kept), {})
    quarantine.write(folder / "quarantine.jsonl", (bad.record() for bad in rejected))
    if len(rejected) > max_share * (len(kept) + len(rejected)) or len(kept) < least:
        counts |= {"no reasoning": unreasoned} if unreasoned else {}
        out, words = unreasoned + len(rejected), ", ".join(f"{reason}: {number}" for reason, number in counts.items())
        raise DataError(
            f"{corpus}: {out} of {out + len(kept)} rows cannot be used ({words}); "
            f"raise {key}={limit} or mend the rows listed in {folder / 'quarantine.jsonl'}"
        )
    unasked = {str(bad.id): bad.reason for bad in rejected if bad.reason != REPEATED}
    return Kept(index.write(folder / "kept.parquet", corpus, kept), len(kept), counts, unreasoned, unasked)


def unfit(reason: str) -> Broken:
    """A row that is left out whole, with no one field to blame."""
    return Broken("", None, reason, "mend the row, raise the limit, or go on without it")


def _reason(
    sample: Sample, known: Mapping[measured.Key, Measured], encoder: Encoder, limit: int, key: str, targets: bool
) -> str | None:
    tokens = known.get((sample.id, exact_key(sample))) if known else None
    try:
        if tokens is None:  # nobody has looked at its pictures to the end
            for data in sample.images:
                images.decode(data, shrink=images.SHRINKS[0])
        length = None if tokens is None else tokens.row_tokens if targets else tokens.prompt_tokens
        if length is None:
            length = encoder.lengths([sample], targets=targets)[0]
    except DataError as error:
        return f"unusable: {error}"
    return f"too long: {length} tokens, {key}={limit}" if length > limit else None
