"""Answers files: one JSON object a line, appended while a guard generates, so that a killed run loses one line at most.

Every line has the fields of `gr_vl.schema.Answer`; those with a default may be absent. Other fields are ignored.
"""

import json
import math
import os
from collections.abc import Iterable
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from gr_vl import verdicts
from gr_vl.data.build.files import replace_text
from gr_vl.data.text import parse_json
from gr_vl.errors import DataError
from gr_vl.schema import Answer, ParseFailure, Verdict

_FIELDS = {item.name: item.type for item in fields(Answer) if item.default is item.default_factory is MISSING}


def read_answers(path: Path) -> list[Answer]:
    """All whole answers of a file. A torn last line is dropped; DataError names any other line that is broken."""
    if not path.is_file():
        raise DataError(f"{path}: no such file; write it with `gr-vl eval`, or correct the path")
    *lines, tail = path.read_bytes().split(b"\n")
    answers = [_parse(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
    return answers + ([_parse(path, len(lines) + 1, tail)] if _is_whole(tail) else [])


def write_answers(path: Path, answers: Iterable[Answer]) -> int:
    """Write answers and return their number; the file appears only when it is whole."""
    lines = [_line(answer) for answer in answers]
    replace_text(path, "".join(lines))
    return len(lines)


def append_answers(path: Path, answers: Iterable[Answer]) -> int:
    """Add answers at the end and return their number; a torn last line is cut off first."""
    lines = [_line(answer) for answer in answers]
    path.parent.mkdir(parents=True, exist_ok=True)
    _mend(path)
    with path.open("a", encoding="utf-8") as file:
        file.write("".join(lines))
    return len(lines)


def _line(answer: Answer) -> str:
    row = {item.name: getattr(answer, item.name) for item in fields(Answer)}
    if (outcome := answer.outcome) is not None:
        row["outcome"] = verdicts.pack(outcome) | {"reasoning": verdicts.span(outcome, answer.text)}
    return json.dumps({name: value for name, value in row.items() if name in _FIELDS or value}) + "\n"


def _parse(path: Path, number: int, line: bytes) -> Answer:
    try:
        row = parse_json(line)
        values = {name: row[name] for name in _FIELDS}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: line {number}: no answer ({error!r}); delete the line and run again") from None
    for name, kind in _FIELDS.items():
        if type(values[name]) is not kind:
            raise DataError(f"{path}: line {number}: {name}={values[name]!r} has the wrong type; write {kind}")
    failure = row.get("failure", "")
    if not isinstance(failure, str):
        raise DataError(f"{path}: line {number}: failure={failure!r} has the wrong type; write {str}")
    try:
        outcome = _outcome(row.get("outcome"), values["text"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: line {number}: outcome is nothing that was read ({error!r}); drop the key") from None
    scores = _scores(row.get("scores"))
    return Answer(**values, seconds=_number(row.get("seconds")), scores=scores, failure=failure, outcome=outcome)


def _outcome(row: Any, text: str) -> Verdict | ParseFailure | None:
    return None if row is None else verdicts.unpack(row, verdicts.reasoning_at(row["reasoning"], text))


def _number(value: Any) -> float | None:
    return float(value) if type(value) in (int, float) and math.isfinite(value) else None


def _scores(value: Any) -> dict[str, float]:
    scores = {name: _number(item) for name, item in value.items()} if isinstance(value, dict) else {}
    return {name: score for name, score in scores.items() if score is not None and 0 <= score <= 1}


def _is_whole(tail: bytes) -> bool:
    # Only the closing newline may be lost: the object before it is complete, and worth keeping, if it parses.
    try:
        return isinstance(parse_json(tail), dict)
    except ValueError:
        return False


def _mend(path: Path) -> None:
    if not path.is_file() or not path.stat().st_size:
        return
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        if file.read() == b"\n":
            return
        file.seek(0)
        content = file.read()
        kept = content.rfind(b"\n") + 1
        if _is_whole(content[kept:]):
            file.write(b"\n")
        else:
            file.truncate(kept)
