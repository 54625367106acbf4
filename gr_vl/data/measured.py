"""Token counts beside a corpus, so that what was decoded and measured once is not decoded and measured again.

`train.parquet` has `train.lengths.parquet`. A row there is found by id and by a hash of the whole sample: it also says
that the sample was examined, every picture of it decoded to the last pixel.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gr_vl.data.build.files import whole

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("content", pa.binary(16)),
        ("prompt_tokens", pa.int32()),
        ("visual_tokens", pa.int32()),
        ("row_tokens", pa.int32()),
    ]
)
_ENCODER = b"gr_vl.encoder"


@dataclass(frozen=True)
class Measured:
    """Tokens of one sample."""

    prompt_tokens: int
    """Of the prompt as the model sees it, pictures included."""
    visual_tokens: int
    """Of its pictures alone."""
    row_tokens: int | None
    """Of prompt, target and end token; None for a sample that is no SFT target."""


Key = tuple[str, bytes]


def path_of(corpus: Path) -> Path:
    """The file beside a corpus."""
    return corpus.with_name(f"{corpus.stem}.lengths.parquet")


def write(corpus: Path, encoder: str, rows: Iterable[tuple[Key, Measured]]) -> None:
    """Write the file beside a corpus; `encoder` is the fingerprint of the one that measured."""
    table = pa.Table.from_pylist(
        [{"id": id, "content": content, **asdict(measured)} for (id, content), measured in rows],
        schema=SCHEMA.with_metadata({_ENCODER: encoder.encode()}),
    )
    with whole(path_of(corpus)) as part:
        pq.write_table(table, part)


def read(corpus: Path, encoder: str) -> dict[Key, Measured]:
    """What is known of a corpus; nothing where there is no file, or another encoder measured."""
    path = path_of(corpus)
    if not path.is_file() or pq.read_schema(path).metadata.get(_ENCODER) != encoder.encode():
        return {}
    names = [name for name in SCHEMA.names if name not in ("id", "content")]
    return {
        (row["id"], row["content"]): Measured(**{name: row[name] for name in names})
        for row in pq.read_table(path).to_pylist()
    }
