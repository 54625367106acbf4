"""Scores for answers that are on disk already: how sure the guard was of each label that it stated."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from gr_vl.evaluation.answers import read_answers, write_answers
from gr_vl.guard.model import Guard
from gr_vl.progress import report
from gr_vl.schema import Sample, Verdict

CHUNK = 512
"""Answers that are scored between two times that their file is replaced."""


def rescore(guard: Guard, samples: Iterable[Sample], path: Path, note: str = "") -> None:
    """Add the scores that answers of a file lack. Run again after a kill, it goes on from the last whole chunk.

    An answer without a verdict has none. Raises DataError when the file is missing or broken.
    """
    by_id, answers, parse = {s.id: s for s in samples}, read_answers(path), guard.encoder.dialect.parse
    unscored = [i for i, answer in enumerate(answers) if not answer.scores and answer.id in by_id]
    todo = [i for i in unscored if isinstance(answers[i].read(parse), Verdict)]
    todo.sort(key=lambda i: len(answers[i].text))
    for start in range(0, len(todo), CHUNK):
        report(path.parent, start, len(todo), note)
        chunk = todo[start : start + CHUNK]
        found = guard.scored([by_id[answers[i].id] for i in chunk], [answers[i].text for i in chunk])
        for i, scores in zip(chunk, found, strict=True):
            answers[i] = replace(answers[i], scores={str(task): score for task, score in scores.items()})
        write_answers(path, answers)
    report(path.parent, len(todo), len(todo), note)
