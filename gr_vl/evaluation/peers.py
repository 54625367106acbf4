"""Other guards' answers, as `gr-vl eval --endpoint` writes them: a folder with what was asked, and every reply.

In a run's `eval/NAME/` they are one more model of its report.
"""

from collections.abc import Sequence
from pathlib import Path

from gr_vl.data.text import parse_json
from gr_vl.errors import DataError
from gr_vl.evaluation import adapters
from gr_vl.evaluation.adapters import Adapter
from gr_vl.evaluation.answers import read_answers
from gr_vl.evaluation.metrics import Judged
from gr_vl.schema import Answer, FailureReason, ParseFailure, Sample

ASKED = "endpoint.json"
ANSWERS = "answers.jsonl"


def folders(run: Path) -> dict[str, dict[str, Path]]:
    """Folders below `eval/` that hold another guard's answers, by split (the corpus's name) and their own name."""
    found: dict[str, dict[str, Path]] = {}
    for path in sorted(run.glob(f"eval/*/{ASKED}")):
        found.setdefault(Path(_asked(path)["corpus"]).stem, {})[path.parent.name] = path.parent
    return found


def read(folder: Path, samples: Sequence[Sample]) -> list[Judged]:
    """What the folder's guard said of these samples. DataError when it has not answered all about them."""
    adapter = adapters.get(_asked(folder / ASKED)["adapter"])
    answers = read_answers(folder / ANSWERS)
    there = {(answer.id, answer.index) for answer in answers}
    for sample in samples:
        if any((sample.id, index) not in there for index, _ in enumerate(adapter.calls(sample))):
            raise DataError(f"{folder}: no answer about {sample.id!r}; run the same `gr-vl eval --endpoint` again")
    return judge(samples, adapter, answers)


def judge(samples: Sequence[Sample], adapter: Adapter, answers: Sequence[Answer]) -> list[Judged]:
    """Each sample with all replies about it as one answer: tokens and seconds add up.

    A sample about which nothing was asked, or that has no verdict since a request was refused, is unanswered.
    """
    by_id: dict[str, dict[int, Answer]] = {}
    for answer in answers:
        by_id.setdefault(answer.id, {})[answer.index] = answer
    judged = []
    for sample in samples:
        replies = [reply for _, reply in sorted(by_id.get(sample.id, {}).items())]
        seconds = sum(reply.seconds or 0.0 for reply in replies) if replies else None
        text, tokens = "\n".join(reply.text for reply in replies), sum(reply.tokens for reply in replies)
        outcome = adapter.read([reply.text for reply in replies])
        why = next((reply.failure for reply in replies if reply.failure), "" if replies else "not asked about it")
        failure = why if isinstance(outcome, ParseFailure) else ""
        outcome = ParseFailure(FailureReason.UNANSWERED) if failure else outcome
        finished = all(reply.finished for reply in replies)
        whole = Answer(sample.id, 0, text, tokens, 0, finished, seconds, failure=failure)
        judged.append(Judged(sample, whole, outcome))
    return judged


def _asked(path: Path) -> dict[str, str]:
    try:
        asked = parse_json(path.read_bytes())
        return {name: str(asked[name]) for name in ("adapter", "corpus")}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"{path}: does not say adapter and corpus; remove the folder and ask again") from None
