"""The exchanges worth reading: where RL changed the verdict, the longest answers, and those that cannot be parsed.

Texts and images come from users and models and are never trusted: texts are cut and left to the template to escape,
images are decoded under a pixel cap and encoded anew, so that none of their bytes reaches the page.
"""

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gr_vl.data import images
from gr_vl.errors import DataError
from gr_vl.evaluation.metrics import Judged
from gr_vl.evaluation.run_folder import model_name
from gr_vl.schema import ParseFailure, Sample

MAX_CHARACTERS = 6_000
THUMBNAIL = 160
TOTAL = 12

Row = dict[str, Judged]
"""One sample as every model judged it."""


@dataclass(frozen=True)
class Group:
    """Samples that were chosen for the same reason."""

    title: str
    samples: dict[str, Row]
    """By id, each as every model judged it."""


def choose(models: Mapping[str, list[Judged]], own: Sequence[str] = ()) -> list[Group]:
    """About a dozen samples, each in the first group that claims it; groups without samples are left out."""
    ids = [item.sample.id for item in next(iter(models.values()))]
    left = {
        id: dict(zip(models, row, strict=True)) for id, row in zip(ids, zip(*models.values(), strict=True), strict=True)
    }
    last = ([name for name in models if name in own] or list(models))[-1]
    after = "rl" if "rl" in models else last
    groups: list[Group] = []

    def add(title: str, limit: int, wanted: Callable[[Row], bool]) -> None:
        found = [id for id, row in left.items() if wanted(row)][:limit]
        if found:
            groups.append(Group(title, {id: left.pop(id) for id in found}))

    if "sft" in models and after != "sft":
        add(
            f"Wrong after SFT, right after {model_name(after)}",
            3,
            lambda row: not row["sft"].right and row[after].right,
        )
        add(
            f"Right after SFT, wrong after {model_name(after)}",
            3,
            lambda row: row["sft"].right and not row[after].right,
        )
    add("Unparsable", 3, lambda row: any(isinstance(item.outcome, ParseFailure) for item in row.values()))
    longest = sorted(left, key=lambda id: -left[id][last].answer.tokens)[:2]
    add(f"Longest answers of {model_name(last)}", 2, lambda row: row[last].sample.id in longest)
    add(f"Wrong after {model_name(last)}", TOTAL - _size(groups), lambda row: not row[last].right)
    add(f"Right after {model_name(last)}", TOTAL - _size(groups), lambda row: True)
    return groups


def _size(groups: list[Group]) -> int:
    return sum(len(group.samples) for group in groups)


def thumbnail(data: bytes) -> str | None:
    """A small PNG as a data URL, or None when the bytes are no image that `images.decode` accepts."""
    try:
        image = images.decode(data)
    except DataError:
        return None
    image.thumbnail((THUMBNAIL, THUMBNAIL))
    return f"data:image/png;base64,{base64.b64encode(images.encode_png(image)).decode()}"


def view(row: Row, images: tuple[bytes, ...]) -> dict[str, Any]:
    """One sample and what each model said about it, in the words that the template shows."""
    first = next(iter(row.values()))
    sample: Sample = first.sample
    return {
        "id": sample.id,
        "source": sample.source,
        "modality": sample.modality,
        "prompt": _cut(sample.prompt),
        "response": None if sample.response is None else _cut(sample.response),
        "images": [thumbnail(image) for image in images],
        "truth": first.truth,
        "models": {model: _said(item) for model, item in row.items()},
    }


def _said(item: Judged) -> dict[str, Any]:
    failed = isinstance(item.outcome, ParseFailure)
    return {
        "labels": {} if isinstance(item.outcome, ParseFailure) else item.outcome.labels,
        "failure": item.outcome.reason.replace("_", " ") if isinstance(item.outcome, ParseFailure) else "",
        "right": item.right and not failed,
        "well_formed": item.well_formed,
        "finished": item.answer.finished,
        "tokens": item.answer.tokens,
        # What failed to parse is shown whole: the place where it broke is the interesting one.
        "reasoning": _cut(item.answer.failure or item.answer.text if failed else item.outcome.reasoning),
    }


def _cut(text: str) -> str:
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[:MAX_CHARACTERS]} … ({len(text) - MAX_CHARACTERS:,} more characters)"
