"""Exchanges in and judgements out, one JSON object a line. A bad line becomes an error in the output, never silence."""

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

from gr_vl.data import images, tables
from gr_vl.data.text import parse_request
from gr_vl.errors import DataError
from gr_vl.guard.moderation import Exchange, Outcome, image_of_data_url

MAX_LINE = 64 * 2**20
FIELDS = ("id", "prompt", "images", "response", "think", "policy")

Line = tuple[int, str | bytes]
End = DataError | None
"""What comes after the last line: nothing, or why there is no other."""


def moderate_lines(
    source: BinaryIO,
    answer: Callable[[Sequence[Exchange]], Sequence[Outcome]],
    *,
    batch_size: int,
    think: bool,
    image_root: Path | None,
    policy: str | None = None,
) -> Iterator[dict[str, Any]]:
    """One result for every line that is not blank, in order: `line` (from 1), its `id`, and a judgement or `error`.

    A line has prompt, response, think, policy and images: a list of data URLs, or of paths below `image_root`. Lines
    that are there are answered together; the first of a slow source does not wait for others. `policy` is that of the
    lines without one. Raises DataError when the source cannot be read to its end, after the results of what was read.
    """
    for lines in _batches(source, batch_size):
        rows = [_read(number, line, think, image_root, policy) for number, line in lines]
        exchanges = [exchange for _, exchange in rows if isinstance(exchange, Exchange)]
        answers = iter(answer(exchanges) if exchanges else ())
        for head, exchange in rows:
            outcome = next(answers) if isinstance(exchange, Exchange) else exchange
            yield head | ({"error": str(outcome)} if isinstance(outcome, DataError) else outcome.to_json())


def _read(
    number: int, line: str | bytes, think: bool, root: Path | None, policy: str | None
) -> tuple[dict[str, Any], Exchange | DataError]:
    head: dict[str, Any] = {"line": number}
    try:
        row = _object(line)
        if isinstance(row.get("id"), str | int):
            head["id"] = row["id"]
        pictures = tuple(_picture(item, root) for item in row.get("images", ()))
        rules = policy if row.get("policy") is None else row["policy"]
        return head, Exchange(row.get("prompt") or "", pictures, row.get("response"), row.get("think", think), rules)
    except DataError as error:
        return head, error


def _object(line: str | bytes) -> dict[str, Any]:
    if len(line) > MAX_LINE:
        raise DataError(f"line: more than {MAX_LINE:,} bytes; split it")
    try:
        row = parse_request(line)
    except ValueError as error:
        raise DataError(f"line: no JSON ({type(error).__name__}); write one object a line") from None
    if not isinstance(row, dict):
        raise DataError(f"line: holds {type(row).__name__}; write an object with prompt, images or response")
    texts: dict[str, Any] = dict.fromkeys(("prompt", "response", "policy"), str | None)
    kinds: dict[str, Any] = texts | {"think": bool, "images": list}
    for name, kind in kinds.items():
        if name in row and not isinstance(row[name], kind):
            raise DataError(f"line: {name} is of type {type(row[name]).__name__}; see docs/serving.md")
    if unknown := sorted(set(row) - set(FIELDS)):
        raise DataError(f"line: {unknown[0]!r:.60} is unknown; use {', '.join(FIELDS)}")
    return row


def _picture(item: Any, root: Path | None) -> bytes:
    if not isinstance(item, str):
        raise DataError(f"line: an image is of type {type(item).__name__}; write a data URL or a path")
    if item.startswith("data:"):
        return image_of_data_url(item)
    if root is None:
        raise DataError(f"image {item:.60}: paths need --image-root DIR, below which they are read")
    return images.read(item, root=root)


def _batches(source: BinaryIO, size: int) -> Iterator[list[Line]]:
    lines: queue.Queue[Line | End] = queue.Queue(maxsize=4 * size)
    threading.Thread(target=_feed, args=(source, lines), daemon=True).start()
    item = lines.get()
    while isinstance(item, tuple):
        batch = [item]
        while len(batch) < size and not lines.empty() and isinstance(item := lines.get(), tuple):
            batch.append(item)
        yield batch
        if isinstance(item, tuple):
            item = lines.get()
    if item is not None:
        raise item


def _feed(source: BinaryIO, lines: "queue.Queue[Line | End]") -> None:
    number, end = 0, None
    try:
        # As every other file of lines: unzipped, and whatever Windows made of it. What is in memory is UTF-8.
        file: Any = tables.decoded(source) if isinstance(source, BufferedReader) else source
        while line := file.readline(MAX_LINE + 1):
            number += 1
            while len(line) > MAX_LINE and (rest := file.readline(MAX_LINE)) and rest[-1:] not in ("\n", b"\n"):
                pass
            if line.strip():
                lines.put((number, line))
    except Exception as error:
        end = DataError(f"input: cannot be read after line {number} ({error!r}); the rest is not judged, send it again")
    finally:
        lines.put(end)
