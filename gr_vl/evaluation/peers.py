"""Other guards' answers, as `gr-vl eval --endpoint` writes them: a folder with what was asked, and every reply.

In a run's `eval/NAME/` they are one more model of its report.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gr_vl.data.text import parse_json
from gr_vl.errors import DataError
from gr_vl.evaluation import adapters
from gr_vl.evaluation.adapters import Adapter
from gr_vl.evaluation.answers import read_answers
from gr_vl.evaluation.metrics import Judged
from gr_vl.schema import Answer, FailureReason, ParseFailure, Sample

ASKED = "endpoint.json"
ANSWERS = "answers.jsonl"
REFUSED = "refused.jsonl"
"""The calls that the last run asked and the server refused: objects with `id`, `index` and `why`."""


def folders(run: Path) -> dict[str, dict[str, Path]]:
    """Folders below `eval/` that hold another guard's answers, by split (the corpus's name) and their own name."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(run.glob(f"eval/*/{ASKED}")):
        found.setdefault(Path(str(asked(path)["corpus"])).stem, {})[path.parent.name] = path.parent
    return found


def read(folder: Path, samples: Sequence[Sample]) -> list[Judged]:
    """What the folder's guard said of these samples. DataError when it has not been asked all about them."""
    adapter = adapters.get(str(asked(folder / ASKED)["adapter"]))
    found = read_answers(folder / ANSWERS)
    there = {(answer.id, answer.index) for answer in found} | {(row["id"], row["index"]) for row in refused(folder)}
    for sample in samples:
        if any((sample.id, index) not in there for index, _ in enumerate(adapter.calls(sample))):
            raise DataError(f"{folder}: no answer about {sample.id!r}; run the same `gr-vl eval --endpoint` again")
    return judge(samples, adapter, found)


def answers(folder: Path) -> list[Answer]:
    """The answers that are there so far."""
    return read_answers(folder / ANSWERS) if (folder / ANSWERS).is_file() else []


def refused(folder: Path) -> list[dict[str, Any]]:
    """The calls that were refused. DataError names a line that does not say which."""
    path, rows = folder / REFUSED, []
    for number, line in enumerate(path.read_bytes().splitlines() if path.is_file() else (), start=1):
        try:
            row = parse_json(line)
            rows.append({"id": str(row["id"]), "index": int(row["index"]), "why": str(row["why"])})
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{path}: line {number}: no id, index and why; remove the file and ask again") from None
    return rows


def judge(samples: Sequence[Sample], adapter: Adapter, answers: Sequence[Answer]) -> list[Judged]:
    """Each sample with all replies about it as one answer: tokens and seconds add up.

    A sample with a call that was refused, or never made, is unanswered.
    """
    by_id: dict[str, dict[int, Answer]] = {}
    for answer in answers:
        by_id.setdefault(answer.id, {})[answer.index] = answer
    judged = []
    for sample in samples:
        replies = [reply for _, reply in sorted(by_id.get(sample.id, {}).items())]
        complete = len(replies) == len(adapter.calls(sample))
        seconds = sum(reply.seconds or 0.0 for reply in replies) if replies and complete else None
        text, tokens = "\n".join(reply.text for reply in replies), sum(reply.tokens for reply in replies)
        outcome = (
            adapter.read([reply.text for reply in replies]) if complete else ParseFailure(FailureReason.UNANSWERED)
        )
        finished = complete and all(reply.finished for reply in replies)
        failure = "" if complete else "a call was refused or not made"
        whole = Answer(sample.id, 0, text, tokens, 0, finished, seconds, failure=failure)
        judged.append(Judged(sample, whole, outcome))
    return judged


def asked(path: Path) -> dict[str, Any]:
    """Who was asked, and about what. DataError when the file does not say."""
    try:
        found = parse_json(path.read_bytes())
        if all(isinstance(found[name], str) for name in ("adapter", "corpus")):
            return dict(found)
    except (ValueError, KeyError, TypeError):
        pass
    raise DataError(f"{path}: does not say adapter and corpus; remove the folder and ask again")
