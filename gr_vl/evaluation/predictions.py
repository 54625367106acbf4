"""Answers that somebody released, scored: JSON lines of `prompt`, `label` and `predict`, as GuardReasoner's are.

A row is about one task: a label of refusal or compliance says which, harmful or unharmful leaves prompt and response.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from gr_vl.data import tables
from gr_vl.data.xstest import TRANSCRIPT
from gr_vl.errors import Broken, ConfigError, DataError
from gr_vl.evaluation import adapters
from gr_vl.evaluation.metrics import Judged
from gr_vl.schema import Answer, FailureReason, ParseFailure, Sample, Task, Verdict
from gr_vl.tasks import SHARED

WORDS = {str(label): label for task in SHARED for label in task.labels}


def read(path: Path, adapter: str, task: Task | None = None, source: str | None = None) -> list[Judged]:
    """Every row judged. Task and source default to what the labels say and to the file's name.

    An answer that does not state the task's label counts as unparsable. Raises DataError naming file and line.
    """
    reader, rows = adapters.reader(adapter), list(_rows(path))
    if not rows:
        raise DataError(f"{path}: no line in it; each is an object with prompt, label and predict")
    found = {Task.REFUSAL if row["label"] in Task.REFUSAL.labels else (task or Task.RESPONSE) for row in rows}
    if len(found) > 1 or (task is not None and found != {task}):
        raise ConfigError(f"--task {task or 'not given'}: the labels of {path} are of {', '.join(sorted(found))}")
    measured, judged = found.pop(), []
    for number, row in enumerate(rows):
        text = row["predict"]
        # Guards that are asked twice are asked about the prompt first, and a reply does not say what it is about.
        outcome = reader([text, text] if measured.needs_response else [text])
        if isinstance(outcome, Verdict) and measured not in outcome.labels:
            outcome = ParseFailure(FailureReason.MISSING_LABEL, outcome.reasoning)
        sample = _sample(f"{path.stem}-{number:05d}", source or path.stem, row["prompt"])
        answer = Answer(sample.id, 0, text, 0, 0, finished=True)
        judged.append(Judged(replace(sample, labels={measured: row["label"]}), answer, outcome))
    return judged


def _sample(id: str, source: str, prompt: str) -> Sample:
    match = TRANSCRIPT.search(prompt)
    request, response = match.groups() if match else (prompt, "")
    return Sample(id, source, request, response.strip())


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if path.is_dir() or not path.exists():
        raise DataError(f"--predictions {path}: no such file or pipe; name JSON lines with prompt, label and predict")
    for number, row in tables.numbered(path):
        if isinstance(row, Broken):
            raise DataError(f"{path}: line {number}: {row.reason}; write prompt, label and predict")
        try:
            label, texts = WORDS[row["label"]], (row["prompt"], row["predict"])
        except (KeyError, TypeError) as error:
            raise DataError(f"{path}: line {number}: {error!r}; write prompt, label and predict") from None
        if not all(isinstance(text, str) for text in texts):
            raise DataError(f"{path}: line {number}: prompt and predict must be text")
        yield {"prompt": texts[0], "label": label, "predict": texts[1]}
