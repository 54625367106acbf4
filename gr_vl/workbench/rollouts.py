"""Saved rollouts: JSONL as verl writes it (`trainer.rollout_data_dir`), one answer a line.

Read are `output` (the text) and `gts` (the labels by task), both needed; `uid` and `step`, or else `input`, which say
what belongs to one group; and `reasoning_tokens`, `output_tokens`, `finished`. Where token counts are missing they are
estimated as words and signs, which is fewer than a tokenizer counts, and the rollout says so.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gr_vl.data import confined, tables
from gr_vl.dialects import Dialect
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Label, Task
from gr_vl.tasks import labelled

_PIECE = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Rollout:
    """One saved answer with its labels."""

    place: str
    """File and line, for people."""
    group: str
    """Answers of the same group answer one prompt in one step."""
    text: str
    labels: dict[Task, Label]
    lengths: dict[str, Any]
    """What a reward reads beside the text: reasoning_tokens, output_tokens, finished."""
    estimated: bool
    """Whether tokens were counted without their tokenizer."""


@dataclass(frozen=True)
class Rollouts:
    """All readable answers, and why the others are not."""

    answers: list[Rollout]
    unreadable: list[str] = field(default_factory=list)
    """File, line and reason of each."""

    @property
    def groups(self) -> list[list[Rollout]]:
        """Answers by group, in the order of their first line."""
        groups: dict[str, list[Rollout]] = {}
        for answer in self.answers:
            groups.setdefault(answer.group, []).append(answer)
        return list(groups.values())


def read(paths: Iterable[Path], dialect: Dialect) -> Rollouts:
    """Read files of a dialect's answers, and every .jsonl of folders. DataError when a path or every line is bad."""
    files = [file for path in paths for file in (_below(path) if path.is_dir() else [path])]
    rollouts = Rollouts([])
    for file in files:
        if file.is_dir() or not file.exists():
            raise DataError(f"{file}: no such file or pipe; name a rollout file (JSONL), or a folder of them")
        for number, row in tables.numbered(file):
            try:
                rollouts.answers.append(_rollout(row, f"{file}:{number}", dialect))
            except DataError as error:
                rollouts.unreadable.append(str(error))
    if not rollouts.answers:
        why = rollouts.unreadable[0] if rollouts.unreadable else "there are no lines"
        raise DataError(f"{', '.join(map(str, files)) or 'no files'}: no readable rollout; the first problem: {why}")
    return rollouts


def _below(folder: Path) -> list[Path]:
    return sorted(path for kind in ("*.jsonl", "*.jsonl.gz") for path in confined.files(folder, kind, deep=False))


def parse(line: str, place: str, dialect: Dialect) -> Rollout:
    """One line. DataError names the place and what is wrong with it."""
    return _rollout(tables.parsed(line), place, dialect)


def _rollout(row: tables.Item, place: str, dialect: Dialect) -> Rollout:
    if isinstance(row, Broken):
        raise DataError(f"{place}: {row.reason}; the line may be torn")
    if not isinstance(row.get("output"), str):
        raise DataError(f'{place}: no answer; write an object with "output", a text, and "gts", its labels')
    text, (lengths, estimated) = row["output"], _lengths(row, place, dialect.reasoning_ends)
    return Rollout(place, _group(row), text, _labels(row.get("gts"), place, dialect), lengths, estimated)


def _labels(gts: Any, place: str, dialect: Dialect) -> dict[Task, Label]:
    """Labels of the dialect's tasks; those of tasks that it does not ask about say nothing of its answers."""
    try:
        return labelled(dialect.tasks, gts)
    except (AttributeError, ValueError):
        form = ", ".join(f"{task}: {' or '.join(task.labels)}" for task in dialect.tasks)
        raise DataError(f"{place}: gts={gts!r} is no block of labels; write {{{form}}}") from None


def _group(row: Mapping[str, Any]) -> str:
    uid = row.get("uid")
    # verl writes PROMPT_ANSWER_TURN.
    prompt = uid.rsplit("_", 2)[0] if isinstance(uid, str) else [row.get("input"), row.get("gts")]
    return json.dumps([row.get("step"), prompt])


def _lengths(row: Mapping[str, Any], place: str, ends: str) -> tuple[dict[str, Any], bool]:
    finished = row.get("finished", True)
    counts: Sequence[Any] = [row.get("reasoning_tokens"), row.get("output_tokens")]
    if not all(count is None or (type(count) is int and count >= 0) for count in counts):
        raise DataError(f"{place}: reasoning_tokens, output_tokens={counts} must be numbers of tokens")
    text = row["output"]
    guesses = [len(_PIECE.findall(part)) for part in (text.partition(ends)[0], text)]
    tokens = [guess if count is None else count for count, guess in zip(counts, guesses, strict=True)]
    return {"reasoning_tokens": tokens[0], "output_tokens": tokens[1], "finished": bool(finished)}, None in counts
