"""Whether a reply can teach: whole, in the dialect's form, step by step, and ending in the given labels."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gr_vl.dialects import Dialect
from gr_vl.schema import Label, ParseFailure, Sample, Task, Verdict
from gr_vl.teacher.prompt import STEPS


class Fault(StrEnum):
    """Why a sample is in quarantine."""

    UNUSABLE_SAMPLE = "unusable_sample"
    REJECTED_REQUEST = "rejected_request"
    NO_REPLY = "no_reply"
    UNFINISHED = "unfinished"
    WRONG_FORM = "wrong_form"
    WRONG_STEPS = "wrong_steps"
    GIVEN_AWAY = "given_away"
    WRONG_LABELS = "wrong_labels"


@dataclass(frozen=True)
class Refusal:
    """A reply or a sample that cannot be used."""

    fault: Fault
    why: str
    """One sentence; the teacher reads it before it tries again."""


_TASK = re.compile(r"^# Task (\d+)\b.*$", re.MULTILINE)
_STEP = re.compile(r"^## Reasoning Step (\d+)\b.*$", re.MULTILINE)
_GIVEN = re.compile(r"\b(ground[- ]truth|(given|provided|known|right|correct) labels?|right answers)\b", re.IGNORECASE)


def judge(sample: Sample, text: str, finish: str, dialect: Dialect) -> Verdict | Refusal:
    """The verdict that a reply ends in, or the first thing that is wrong with it.

    `finish` is the protocol's finish_reason: anything but `stop` means that the reply is not whole.
    """
    if finish != "stop":
        return Refusal(Fault.UNFINISHED, f"The reply was not whole (finish reason {finish}); write less.")
    verdict = dialect.parse(text)
    if isinstance(verdict, ParseFailure):
        return Refusal(Fault.WRONG_FORM, f"The reply has no answers in the asked form ({verdict.reason}).")
    if not verdict.well_formed:
        return Refusal(
            Fault.WRONG_FORM, "The reply departs from the form: keep to it, with nothing before or after it."
        )
    if wrong := _wrong_labels(verdict.labels, dialect.expected(sample)):
        return Refusal(Fault.WRONG_LABELS, wrong)
    if wrong := _wrong_steps(verdict.reasoning, len(dialect.tasks)):
        return Refusal(Fault.WRONG_STEPS, wrong)
    if found := _GIVEN.search(verdict.reasoning):
        return Refusal(Fault.GIVEN_AWAY, f"The reasoning says '{found[0]}': argue from the exchange alone.")
    return verdict


def _wrong_labels(said: Mapping[Task, Label], known: Mapping[Task, Label]) -> str:
    wrong = [f"{task} is {label}, not {said[task]}" for task, label in known.items() if said[task] != label]
    return f"The answers are wrong: {'; '.join(wrong)}." if wrong else ""


def _wrong_steps(reasoning: str, tasks: int) -> str:
    before, *sections = _TASK.split(reasoning)
    if before.strip() or sections[::2] != [str(number) for number in range(1, tasks + 1)]:
        return f"The reasoning must consist of the headers '# Task 1' to '# Task {tasks}', each once, and their steps."
    for number, section in enumerate(sections[1::2], start=1):
        above, *steps = _STEP.split(section)
        if above.strip() or steps[::2] != [str(step) for step in range(1, len(steps) // 2 + 1)]:
            return f"Task {number} must consist of '## Reasoning Step n', n counting from 1, and nothing else."
        if not 1 <= len(steps) // 2 <= STEPS:
            return f"Task {number} has {len(steps) // 2} steps; write 1 to {STEPS}."
        if not all(step.strip() for step in steps[1::2]):
            return f"Task {number} has an empty step."
    return ""
