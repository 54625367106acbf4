"""What was read in an answer, as plain values: it is kept with the answer, so that nobody has to read it again."""

from collections.abc import Mapping
from typing import Any, cast

from gr_vl.dialects.lines import lines
from gr_vl.schema import FailureReason, Label, ParseFailure, Task, Verdict


def pack(outcome: Verdict | ParseFailure) -> dict[str, Any]:
    """Everything but the reasoning, which is part of the text.

    >>> pack(ParseFailure(FailureReason.EMPTY))
    {'failure': 'empty'}
    """
    if isinstance(outcome, ParseFailure):
        return {"failure": str(outcome.reason)}
    said = {str(task): str(label) for task, label in outcome.labels.items()}
    return {"said": said, "form": [outcome.well_formed, outcome.sectioned], "fields": dict(outcome.fields)}


def unpack(row: Mapping[str, Any], reasoning: str = "") -> Verdict | ParseFailure:
    """What `pack` packed. Raises KeyError, TypeError or ValueError when it is nothing of the kind."""
    if "failure" in row:
        return ParseFailure(FailureReason(row["failure"]), reasoning)
    well_formed, sectioned = row["form"]
    # Tasks are equal to their names, and nobody needs more of them.
    labels = cast(dict[Task, Label], dict(row["said"]))
    return Verdict(labels, reasoning, bool(well_formed), bool(sectioned), dict(row["fields"]))


def span(outcome: Verdict | ParseFailure, text: str) -> list[int]:
    """Where the reasoning stands in the answer, in characters: its start and its length."""
    return [max(lines(text).find(outcome.reasoning), 0), len(outcome.reasoning)]


def reasoning_at(span: list[int], text: str) -> str:
    """The reasoning that stands there."""
    start, length = span
    return lines(text)[start : start + length]
