"""Cells that may hold anything, read as what a sample needs: a text, a label, a picture, or a reason why not."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from gr_vl.data.text import whole
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Label, Sample, Task
from gr_vl.tasks import SHARED

MAX_TEXT = 2**20
"""Characters of a text, far beyond what any guard's context holds."""

SAFE_WORDS = {"safe": Label.UNHARMFUL, "unsafe": Label.HARMFUL}
HARM_WORDS = {str(label): label for task in SHARED for label in reversed(task.labels)}
_FLAGS = {"true": True, "1": True, "false": False, "0": False}
T = TypeVar("T")


class Row:
    """A row of a file, and where it stands. What reads a cell raises `Broken` when the cell holds something else."""

    def __init__(self, cells: Mapping[str, Any], source: str, root: Path, file: str, number: int) -> None:
        self.cells, self.source, self.root, self.file, self.number = cells, source, root, file, number

    @property
    def id(self) -> str:
        """For rows that have no id of their own: the file's path below the root, and the number."""
        return f"{self.source}-{self.file}-{self.number}"

    def own_id(self, field: str) -> str:
        """The id that the authors gave the row, a text or a number."""
        value = self.get(field)
        return f"{self.source}-{value}" if isinstance(value, int) else f"{self.source}-{self.text(field)}"

    def get(self, field: str) -> Any:
        """A cell, or None where it is missing: absent, null, or the NaN that tables write for null."""
        value = self.cells.get(field)
        if isinstance(value, Broken):
            raise value
        return None if isinstance(value, float) and value != value else value

    def maybe_text(self, field: str) -> str | None:
        """A text, or None where it is missing."""
        value = self.get(field)
        return None if value is None else text(field, value)

    def text(self, field: str) -> str:
        """A text that says something."""
        found = self.maybe_text(field)
        if found is None or not found.strip():
            raise Broken(field, found, "missing or blank")
        return found

    def flag(self, field: str) -> bool:
        """A truth value: true, 1, "True" or "1"."""
        value = self.get(field)
        return choose(field, value if isinstance(value, str) else str(value), _FLAGS)

    def label(self, field: str, words: Mapping[str, Label]) -> Label:
        """The label that a cell's word stands for, whatever its case."""
        return choose(field, self.get(field), words)

    def maybe_label(self, field: str, words: Mapping[str, Label]) -> Label | None:
        """The same, or None where the label is missing."""
        return None if self.get(field) in (None, "", "None") else self.label(field, words)

    def image(self, field: str) -> bytes:
        """A picture: an embedded file, as `datasets` writes them, or the path of one below the folder."""
        value = self.get(field)
        if isinstance(value, Mapping):
            value = value.get("bytes") or value.get("path")
        if isinstance(value, str):
            return picture(field, value, self.root)
        if not isinstance(value, bytes):
            raise Broken(field, value, "no picture and no path of one")
        return embedded(field, value)

    def sample(
        self,
        prompt: str,
        *,
        id: str | None = None,
        response: str | None = None,
        prompt_label: Label | None = None,
        response_label: Label | None = None,
        **fields: Any,
    ) -> Sample:
        """The row's sample. A blank response that nobody judged is none."""
        if response is not None and response_label is None and not response.strip():
            response = None
        if response is None and response_label is not None:
            raise Broken("response", None, "a label of a response that is not there", "add the response")
        labels = {Task.PROMPT: prompt_label, Task.RESPONSE: response_label}
        known = {task: label for task, label in labels.items() if label is not None}
        if not known:
            raise Broken("label", None, "neither request nor response has a label", "label it, or leave it out")
        return Sample(id or self.id, self.source, prompt, response=response, labels=known, **fields)


def text(field: str, value: Any) -> str:
    """A value as the text that it must be; half a character becomes U+FFFD."""
    if not isinstance(value, str):
        raise Broken(field, value, f"no text but a {type(value).__name__}")
    if len(value) > MAX_TEXT:
        raise Broken(field, value, f"{len(value):,} characters, over the limit of {MAX_TEXT:,}", "leave it out")
    return whole(value)


def choose(field: str, value: Any, words: Mapping[str, T]) -> T:
    """What a word stands for, whatever its case."""
    if value is None or (isinstance(value, str) and not value.strip()):
        raise Broken(field, value, "missing")
    found = words.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise Broken(field, value, f"none of: {', '.join(words)}")
    return found


def picture(field: str, path: str, root: Path, *folders: str) -> bytes:
    """An image file in one of these folders below the root, or else in the root itself, header checked."""
    from gr_vl.data import images

    try:
        return images.read(_placed(path, root, folders), root=root)
    except DataError as error:
        raise _unusable(field, path, error) from None


def _placed(path: str, root: Path, folders: tuple[str, ...]) -> str:
    for folder in folders:
        inside = f"{folder}/{path}"
        # A name that no file can have (too long, with a NUL) is refused where it is read.
        if os.path.isfile(root / inside):
            return inside
    return path


def embedded(field: str, data: bytes) -> bytes:
    """Bytes that must be an image file, header checked."""
    from gr_vl.data import images

    try:
        images.size(data)
    except DataError as error:
        raise _unusable(field, data, error) from None
    return data


def _unusable(field: str, value: Any, error: DataError) -> Broken:
    reason, _, fix = str(error).rpartition("; ")
    return Broken(field, value, reason, fix)
