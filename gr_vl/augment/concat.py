"""Safety-aware concatenation: two samples become one harder sample that is harmful if either part is.

GuardReasoner-VL, equations 4 and 5: X = (T1 T2, I1 | I2); Y = unharmful if Y1 = Y2 = unharmful, else harmful; per task.
A share of 0.2 turns 9,600 samples into 12,000.

Departures from the released code: the joint labels are the sample's labels, and nothing downstream looks at the first
part again; texts are joined turn by turn (`turns`, the paper's figure) and not as whole transcripts (`transcripts`,
kept for parity); text-only samples get no placeholder image; and where only one part has a response, the joint label is
that part's alone, since the other part had nothing to judge.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from typing import Any

from gr_vl.augment import pairs
from gr_vl.augment.merge import merge
from gr_vl.data import images
from gr_vl.data.image_cache import ImageCache
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Sample, Task
from gr_vl.tasks import ordered

TEXT_MODES = ("turns", "transcripts")
CHUNK = 8
"""Pairs that a worker process takes at a time."""
REPORT_EVERY = 64


def concatenate(
    a: Sample,
    b: Sample,
    *,
    id: str | None = None,
    text_mode: str = "turns",
    max_side: int = 1024,
    cache: ImageCache | None = None,
) -> Sample:
    """One sample made of two. Raises DataError that names the sample whose image cannot be decoded.

    Labels are OR per task; an unknown label stays unknown unless the other part is harmful. Whether a joint response is
    a refusal is unknown, since it may refuse one part and not the other. Images of both parts are
    merged to one picture; the images of a single part are kept byte for byte.
    """
    if text_mode not in TEXT_MODES:
        raise ConfigError(f"gr_vl.concat.text_mode={text_mode!r} is unknown; use one of: {', '.join(TEXT_MODES)}")
    if a.policy != b.policy:
        raise DataError(f"samples {a.id!r} and {b.id!r} are judged by different policies; join samples of one policy")
    prompt, response = _turns(a, b) if text_mode == "turns" else _transcripts(a, b)
    both = bool(a.images and b.images)
    return Sample(
        id=f"{a.id}+{b.id}" if id is None else id,
        source="concat",
        prompt=prompt,
        response=response,
        images=(_merged(a, b, max_side, cache),) if both else a.images + b.images,
        labels=_joint_labels(a, b),
        policy=a.policy,
    )


def augmented_set(
    samples: Sequence[Sample],
    share: float,
    seed: int,
    *,
    text_mode: str = "turns",
    max_side: int = 1024,
    balance: str = "uniform",
    workers: int = 1,
    cache: ImageCache | None = None,
    report: Callable[[int, int], None] = lambda done, wanted: None,
) -> list[Sample]:
    """The samples in the order given, then the mixtures that make up `share` of the result, in the order drawn.

    Pairs are those of `pairs.draw`; neither the number of worker processes nor the cache changes a byte of the result.
    `report` hears now and then how many of how many pairs are made.
    Ids end in #i: a pair may be drawn twice.
    """
    if not 0 <= share < 1:
        raise ConfigError(f"gr_vl.concat.share={share} must lie in [0, 1); the paper uses 0.2")
    wanted = round(len(samples) * share / (1 - share))
    drawn = pairs.draw(samples, wanted, seed, balance)
    make = partial(_mixture, text_mode=text_mode, max_side=max_side, cache=cache)
    if workers == 1 or not drawn:
        return [*samples, *_reported(map(make, range(wanted), drawn), wanted, report)]
    # Spawned: a fork would copy whatever threads and locks the caller has.
    with ProcessPoolExecutor(min(workers, wanted), mp_context=get_context("spawn")) as pool:
        made = pool.map(make, range(wanted), drawn, chunksize=CHUNK)
        return [*samples, *_reported(made, wanted, report)]


def _reported(made: Iterable[Sample], wanted: int, report: Callable[[int, int], None]) -> Iterator[Sample]:
    for done, mixture in enumerate(made, 1):
        if done % REPORT_EVERY == 0:
            report(done, wanted)
        yield mixture


def _mixture(index: int, pair: pairs.Pair, **options: Any) -> Sample:
    a, b = pair
    return concatenate(a, b, id=f"{a.id}+{b.id}#{index}", **options)


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
    """The worst label of each task that is about harm; of a task that needs a response, of the parts that have one."""
    answered = [part for part in (a, b) if part.response is not None] or [a, b]
    joint = {
        task: pairs.worst(task, [part.labels.get(task) for part in (answered if task.needs_response else (a, b))])
        for task in ordered((*a.labels, *b.labels))
        if task.harm
    }
    return {task: label for task, label in joint.items() if label is not None}


def _merged(a: Sample, b: Sample, max_side: int, cache: ImageCache | None) -> bytes:
    try:
        return merge([*a.images, *b.images], max_side, cache)
    except DataError:
        for part in (a, b):
            _must_decode(part)
        raise


def _must_decode(sample: Sample) -> None:
    try:
        for data in sample.images:
            images.decode(data)
    except DataError as error:
        raise DataError(f"sample {sample.id!r}: {error}") from None
