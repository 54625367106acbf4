"""Safety-aware concatenation: two samples become one harder sample that is harmful if either part is.

GuardReasoner-VL, equations 4 and 5: X = (T1 T2, I1 | I2); Y = unharmful if Y1 = Y2 = unharmful, else harmful; per task.
A share of 0.2 turns 9,600 samples into 12,000.

Departures from the released code: the joint labels are the sample's labels, and nothing downstream looks at the first
part again; texts are joined turn by turn (`turns`, the paper's figure) and not as whole transcripts (`transcripts`,
kept for parity); text-only samples get no placeholder image; and where only one part has a response, the joint label is
that part's alone, since the other part had nothing to judge.
"""

import random
from collections.abc import Sequence

from PIL import Image

from gr_vl.data.images import decode, encode_png
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Sample, Task

TEXT_MODES = ("turns", "transcripts")


def concatenate(
    a: Sample, b: Sample, *, id: str | None = None, text_mode: str = "turns", max_side: int = 1024
) -> Sample:
    """One sample made of two. Raises DataError that names the sample whose image cannot be decoded.

    Labels are OR per task; an unknown label stays unknown unless the other part is harmful. Images of both parts are
    merged to one picture; the images of a single part are kept byte for byte.
    """
    if text_mode not in TEXT_MODES:
        raise ConfigError(f"gr_vl.concat.text_mode={text_mode!r} is unknown; use one of: {', '.join(TEXT_MODES)}")
    prompt, response = _turns(a, b) if text_mode == "turns" else _transcripts(a, b)
    both = bool(a.images and b.images)
    return Sample(
        id=f"{a.id}+{b.id}" if id is None else id,
        source="concat",
        prompt=prompt,
        response=response,
        images=(_side_by_side([*_pictures(a), *_pictures(b)], max_side),) if both else a.images + b.images,
        labels=_joint_labels(a, b),
    )


def augmented_set(
    samples: Sequence[Sample], share: float, seed: int, *, text_mode: str = "turns", max_side: int = 1024
) -> list[Sample]:
    """The samples in the order given, then the mixtures that make up `share` of the result, in the order drawn.

    Both parts of a mixture are drawn uniformly, never one sample twice. The i-th pair is a function of the seed, i and
    the set of ids, so the order of the input does not matter to it. Ids end in #i: a pair may be drawn twice.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"gr_vl.concat.share={share} must lie in [0, 1); the paper uses 0.2")
    wanted = round(len(samples) * share / (1 - share))
    if wanted and len(samples) < 2:
        raise DataError("a mixture takes two samples, and there is one; set gr_vl.concat.share=0 or add data")
    pool = sorted(samples, key=lambda sample: sample.id)
    mixtures = []
    for index in range(wanted):
        a, b = random.Random(f"{seed}:concat:{index}").sample(pool, 2)
        name = f"{a.id}+{b.id}#{index}"
        mixtures.append(concatenate(a, b, id=name, text_mode=text_mode, max_side=max_side))
    return [*samples, *mixtures]


def _turns(a: Sample, b: Sample) -> tuple[str, str | None]:
    responses = [part.response for part in (a, b) if part.response is not None]
    return _spaced([a.prompt, b.prompt]), _spaced(responses) if responses else None


def _transcripts(a: Sample, b: Sample) -> tuple[str, str | None]:
    """Both transcripts in a row, so that the dialect's rendering of the result is the released code's text.

    The dialect writes the outer "Human user:" and "AI assistant:" itself. A missing response is the word None, also as
    the last one, lest the dialect take the whole for a sample without any response.
    """
    first = "None" if a.response is None else a.response.strip()
    prompt = f"{a.prompt.strip()}\n\nAI assistant:\n{first} Human user:\n{b.prompt.strip()}"
    if b.response is None:
        return prompt, None if a.response is None else "None"
    return prompt, b.response.strip()


def _spaced(texts: Sequence[str]) -> str:
    return " ".join(text.strip() for text in texts if text.strip())


def _joint_labels(a: Sample, b: Sample) -> dict[Task, Label]:
    parts = {Task.PROMPT: [a, b], Task.RESPONSE: [part for part in (a, b) if part.response is not None] or [a, b]}
    joint = {task: _either([part.labels.get(task) for part in judged]) for task, judged in parts.items()}
    return {task: label for task, label in joint.items() if label is not None}


def _either(labels: Sequence[Label | None]) -> Label | None:
    if Label.HARMFUL in labels:
        return Label.HARMFUL
    return None if None in labels else Label.UNHARMFUL


def _pictures(sample: Sample) -> list[Image.Image]:
    try:
        return [decode(data) for data in sample.images]
    except DataError as error:
        raise DataError(f"sample {sample.id!r}: {error}") from None


def _side_by_side(pictures: Sequence[Image.Image], max_side: int) -> bytes:
    """Left to right on white, tops aligned, within max_side x max_side, never enlarged.

    Each picture is shrunk before it is pasted: a canvas at full size could be far larger than its parts.
    """
    height = max(picture.height for picture in pictures)
    edges = [sum(picture.width for picture in pictures[:count]) for count in range(len(pictures) + 1)]
    scale = min(1.0, max_side / edges[-1], max_side / height)
    lefts = [round(edge * scale) for edge in edges]
    canvas = Image.new("RGB", (max(lefts[-1], 1), max(round(height * scale), 1)), "white")
    for picture, left, right in zip(pictures, lefts, lefts[1:], strict=False):
        size = (max(right - left, 1), max(round(picture.height * scale), 1))
        part = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
        canvas.paste(part, (left, 0))
    return encode_png(canvas)
