"""What makes a row unusable. `gr-vl data build` and `gr-vl data validate` ask the same questions."""

from gr_vl import dialects
from gr_vl.data.build.fingerprints import thumbnail
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Sample, Verdict

MAX_CHARACTERS = 1_000_000
"""Of one text. No context holds more, and each is compared and measured."""
MAX_IMAGES = 32


def examine(sample: Sample, dialect: str | None) -> Broken | tuple[bytes, ...]:
    """The first thing that is wrong with a sample, or the thumbnails of its pictures, which were decoded whole."""
    found = _texts(sample) or _labels(sample) or _target(sample, dialect)
    if found:
        return found
    if len(sample.images) > MAX_IMAGES:
        return Broken("images", len(sample.images), f"more than {MAX_IMAGES} images", "send fewer")
    try:
        return tuple(map(thumbnail, sample.images))
    except DataError as error:
        what, _, fix = str(error).removeprefix("image: ").rpartition("; ")
        return Broken("images", what, "image cannot be decoded", fix)


def _texts(sample: Sample) -> Broken | None:
    for field in ("id", "source"):
        if not isinstance(value := getattr(sample, field), str) or not value.strip():
            return Broken(field, value, f"no {field}", "give every row one")
    if not sample.prompt.strip() and not sample.images:
        return Broken("prompt", sample.prompt, "neither text nor image", "drop the row: it asks nothing")
    for field in ("id", "source", "prompt", "response", "reasoning"):
        text = getattr(sample, field)
        if text is not None and len(text) > MAX_CHARACTERS:
            return Broken(field, text, f"more than {MAX_CHARACTERS:,} characters", "cut it, or drop the row")
    return None


def _labels(sample: Sample) -> Broken | None:
    if not sample.labels:
        return Broken("prompt_label", None, "no label", "give the truth of the prompt, of the response, or of both")
    if sample.response is None and any(t.needs_response and t.mildest != label for t, label in sample.labels.items()):
        return Broken("response_label", "harmful", "label of a missing response", "add it, or drop the label")
    if sample.taught and sample.reasoning is None:
        return Broken("reasoning", None, "taught labels without reasoning", "drop them, or add the reasoning")
    return None


def _target(sample: Sample, name: str | None) -> Broken | None:
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
    return Broken("reasoning", sample.reasoning, "reasoning breaks the answer's grammar", "write it without tags")
