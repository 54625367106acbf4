"""What makes a row unusable. `gr-vl data build` and `gr-vl data validate` ask the same questions."""

from dataclasses import dataclass

from gr_vl import dialects
from gr_vl.data.build.fingerprints import thumbnail
from gr_vl.errors import DataError
from gr_vl.schema import Sample, Verdict

MAX_CHARACTERS = 1_000_000
"""Of one text. No context holds more, and each is compared and measured."""
MAX_IMAGES = 32


@dataclass(frozen=True)
class Problem:
    """Why a row cannot be used, and what its owner can do about it."""

    field: str
    value: str
    """What stands there, as Python writes it, cut to 80 characters."""
    reason: str
    """One of few: rows are counted by it."""
    fix: str


def examine(sample: Sample, dialect: str | None) -> Problem | tuple[bytes, ...]:
    """The first thing that is wrong with a sample, or the thumbnails of its pictures, which were decoded whole."""
    found = _texts(sample) or _labels(sample) or _target(sample, dialect)
    if found:
        return found
    if len(sample.images) > MAX_IMAGES:
        return Problem("images", str(len(sample.images)), f"more than {MAX_IMAGES} images", "send fewer")
    try:
        return tuple(map(thumbnail, sample.images))
    except DataError as error:
        what, _, fix = str(error).removeprefix("image: ").rpartition("; ")
        return Problem("images", what[:80], "image cannot be decoded", fix)


def problem(field: str, value: object, reason: str, fix: str) -> Problem:
    """A problem with its value cut to 80 characters."""
    return Problem(field, repr(value)[:80], reason, fix)


def _texts(sample: Sample) -> Problem | None:
    for field in ("id", "source"):
        if not isinstance(value := getattr(sample, field), str) or not value.strip():
            return problem(field, value, f"no {field}", "give every row one")
    if not sample.prompt.strip() and not sample.images:
        return problem("prompt", sample.prompt, "neither text nor image", "drop the row: it asks nothing")
    for field in ("id", "source", "prompt", "response", "reasoning"):
        text = getattr(sample, field)
        if text is not None and len(text) > MAX_CHARACTERS:
            return problem(field, text[:80], f"more than {MAX_CHARACTERS:,} characters", "cut it, or drop the row")
    return None


def _labels(sample: Sample) -> Problem | None:
    if not sample.labels:
        return problem("prompt_label", None, "no label", "give the truth of the prompt, of the response, or of both")
    if sample.response is None and any(t.needs_response and t.mildest != label for t, label in sample.labels.items()):
        return problem("response_label", "harmful", "label of a missing response", "add it, or drop the label")
    if sample.taught and sample.reasoning is None:
        return problem("reasoning", None, "taught labels without reasoning", "drop them, or add the reasoning")
    return None


def _target(sample: Sample, name: str | None) -> Problem | None:
    """A target that the guard's own grammar does not read back would teach it to break that grammar."""
    if sample.reasoning is None or name is None:
        return None
    dialect = dialects.get(name)
    # The reasoning is about the last question.
    question, tasks = dialect.questions(sample)[-1]
    labels = {**dialect.expected(question), **(question.taught or {})}
    if any(task not in labels for task in tasks):
        return None  # good for RL and evaluation, not for SFT, which says so itself
    read = dialect.parse(dialect.target(question))
    if isinstance(read, Verdict) and read.well_formed and all(read.labels[task] == labels[task] for task in tasks):
        return None
    return problem("reasoning", sample.reasoning[:80], "reasoning breaks the answer's grammar", "write it without tags")
