"""Some mixtures on one picture, with their labels, so that people see what the augmenter made before a model does."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, ImageOps

from gr_vl.data import images
from gr_vl.errors import DataError
from gr_vl.schema import Sample, Task

CELL, CAPTION, MARGIN = 280, 84, 10
ACROSS, DOWN = 4, 4
POSITIVE, NEGATIVE, UNKNOWN = "#b5432e", "#33658a", "#777777"


def write(path: Path, samples: Sequence[Sample], tasks: Sequence[Task]) -> None:
    """A PNG of up to 16 of the samples with their labels of these tasks, evenly spread over their order."""
    step = max(len(samples) / (ACROSS * DOWN), 1)
    chosen = [samples[int(index * step)] for index in range(min(len(samples), ACROSS * DOWN))]
    rows = max(-(-len(chosen) // ACROSS), 1)
    sheet = Image.new("RGB", (ACROSS * CELL, rows * (CELL + CAPTION)), "white")
    for index, sample in enumerate(chosen):
        row, column = divmod(index, ACROSS)
        sheet.paste(_cell(sample, tasks), (column * CELL, row * (CELL + CAPTION)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(images.encode_png(sheet))


def _cell(sample: Sample, tasks: Sequence[Task]) -> Image.Image:
    cell = Image.new("RGB", (CELL, CELL + CAPTION), "white")
    pen, small, inner = ImageDraw.Draw(cell), ImageFont.load_default(11), CELL - 2 * MARGIN
    pen.rectangle((0, 0, CELL - 1, CELL + CAPTION - 1), outline="#dddddd")
    picture = _picture(sample, inner)
    if picture is not None:
        cell.paste(picture, ((CELL - picture.width) // 2, MARGIN))
        pen.multiline_text((MARGIN, CELL), _lines(sample.prompt, 50, 3), fill="black", font=small)
    else:
        pen.multiline_text(
            (MARGIN, MARGIN), _lines(sample.prompt, 44, 16), fill="black", font=ImageFont.load_default(12)
        )
    for offset, task in enumerate(tasks):
        label = sample.labels.get(task)
        place = (MARGIN + offset * inner // len(tasks), CELL + 46)
        colour = UNKNOWN if label is None else POSITIVE if label in task.positives else NEGATIVE
        pen.text(place, f"{task}: {label or 'unknown'}", fill=colour, font=ImageFont.load_default(13))
    pen.text((MARGIN, CELL + 64), _lines(sample.id, 50, 1), fill="#777777", font=small)
    return cell


def _picture(sample: Sample, side: int) -> Image.Image | None:
    """The first picture, none if there is none or if it is broken: whoever trains on it says so, with its reason."""
    try:
        for data in sample.images[:1]:
            shrink = images.shrink_for(images.size(data), (side, side))
            return ImageOps.contain(images.decode(data, shrink=shrink), (side, side))
    except DataError:
        pass
    return None


def _lines(text: str, width: int, height: int) -> str:
    """The beginning of a text in lines that fit; what cannot be printed is a question mark."""
    printable = "".join(char if char.isprintable() else "?" for char in " ".join(text[: width * height * 2].split()))
    return "\n".join(textwrap.wrap(printable, width, max_lines=height, placeholder=" ..."))
