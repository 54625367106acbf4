"""What a row says whatever its source calls its columns, and how tables are written."""

import csv
import gzip
import io
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Labels = tuple[str | None, str | None]
"""Of a sample's request and response: harmful, unharmful or None for unknown."""
Rows = Iterable["Placeholder"]
Shape = tuple[Callable[[Path, Rows], None], Callable[["Placeholder"], Labels]]
"""What writes a folder of a source, and the labels that its rows must get."""

INSTRUCTION = "You judge one exchange between a user and an AI assistant."
_NOUNS = "garden bridge kettle ladder violin carpet lantern meadow pillow harbour basket window orchard compass candle"
_VERBS = "paint move clean repair sketch measure borrow describe arrange carry polish fold water label count"
WORDS = [f"{verb}{end} {noun}" for verb in _VERBS.split() for noun in _NOUNS.split() for end in ("", " the", " a")]
GROUP = 256
"""Rows of a parquet row group."""


@dataclass(frozen=True)
class Placeholder:
    """What a row says, whatever its source's columns are called."""

    number: int
    prompt: str
    response: str
    picture: Callable[[int], bytes]

    @property
    def prompt_label(self) -> str:
        """Every third request is harmful."""
        return "harmful" if self.number % 3 == 0 else "unharmful"

    @property
    def response_label(self) -> str:
        """Every fourth response is harmful."""
        return "harmful" if self.number % 4 == 1 else "unharmful"

    def image(self) -> bytes:
        """Its picture, an encoded file."""
        return self.picture(self.number)

    def embedded(self) -> dict[str, Any]:
        """Its picture as `datasets` embeds one in parquet."""
        return {"bytes": self.image(), "path": f"{self.number}.png"}


def small_picture(number: int) -> bytes:
    """A 32 x 32 PNG unlike those of other numbers below 16 million."""
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), tuple(number.to_bytes(3, "big"))).save(buffer, format="PNG")
    return buffer.getvalue()


def placeholders(name: str, rows: int, picture: Callable[[int], bytes] = small_picture) -> Iterator[Placeholder]:
    """The rows of a source."""
    draw = random.Random(name)
    for number in range(rows):
        prompt = f"Request {number}: " + ", ".join(draw.choices(WORDS, k=draw.randint(4, 30)))
        response = f"Response {number}: " + ", ".join(draw.choices(WORDS, k=draw.randint(8, 60)))
        yield Placeholder(number, prompt, response, picture)


def place(folder: Path, name: str) -> Path:
    """A path in the folder, with the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_parquet(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Row groups of `GROUP`; the first decides on the columns' types."""
    remaining = iter(rows)
    batch = pa.Table.from_pylist(list(islice(remaining, GROUP)))
    with pq.ParquetWriter(path, batch.schema) as writer:
        while batch.num_rows:
            writer.write_table(batch)
            batch = pa.Table.from_pylist(list(islice(remaining, GROUP)), schema=batch.schema)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One object a line, gzipped where the name says so."""
    with gzip.open(path, "wt", compresslevel=1) if path.suffix == ".gz" else path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)


def write_json(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """One array."""
    with path.open("w") as file:
        file.write("[")
        for number, row in enumerate(rows):
            file.write(",\n" * (number > 0) + json.dumps(row))
        file.write("]\n")


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A table whose header is the first row's keys."""
    remaining = iter(rows)
    first = next(remaining)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, first)
        writer.writeheader()
        writer.writerow(first)
        writer.writerows(remaining)


def both_labels(row: Placeholder) -> Labels:
    """For sources that judge both."""
    return row.prompt_label, row.response_label


def prompt_labels(row: Placeholder) -> Labels:
    """For sources that judge the request alone."""
    return row.prompt_label, None


def response_labels(row: Placeholder) -> Labels:
    """For sources that judge the response alone."""
    return None, row.response_label


def safe(label: str) -> str:
    """The other common pair of words."""
    return "unsafe" if label == "harmful" else "safe"


def transcript(prompt: str, response: str | None) -> str:
    """An exchange as GuardReasoner's files write one."""
    return f"Human user:\n{prompt}\n\nAI assistant:\n{response}\n\n"


def trace(row: Placeholder) -> str:
    """Reasoning over three tasks, as GuardReasoner's files hold it."""
    head = "## Reasoning Step 1"
    return (
        f"# Task 1\n\n{head}\n{row.prompt} is looked at.\n\n# Task 2\n\n{head}\nNo refusal.\n\n"
        f"# Task 3\n\n{head}\nThe response is looked at.\n\n---\n\n"
        f"Answers: \nRequest: {row.prompt_label}\nCompletion: compliance\nResponse: {row.response_label}\n"
    )
