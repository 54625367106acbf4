"""Signs drawn with Pillow on 84x84 pixels: a shape and a colour, on a layout that belongs to one split only."""

import io
import math
import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

SIDE = 84

# The corners of the colour cube, paper left out: warm colours alone took most of a cold start to tell apart.
_COLOURS = {
    "red": (225, 30, 30),
    "yellow": (240, 215, 0),
    "magenta": (210, 30, 200),
    "black": (20, 20, 20),
    "green": (20, 150, 50),
    "blue": (30, 50, 220),
    "cyan": (0, 185, 200),
    "grey": (125, 125, 125),
}


@dataclass(frozen=True)
class Layout:
    """Where a sign stands, how large it is, and what lies behind it."""

    name: str
    x: float
    y: float
    radius: int
    backdrop: str
    """plain, stripes, dots, frame or grid."""


LAYOUTS = {
    "train": (
        Layout("centre", 0.5, 0.5, 27, "plain"),
        Layout("upper left", 0.34, 0.34, 22, "stripes"),
        Layout("lower right", 0.66, 0.66, 22, "dots"),
        Layout("right", 0.66, 0.5, 24, "plain"),
        Layout("top", 0.5, 0.34, 24, "dots"),
        Layout("lower left", 0.34, 0.66, 25, "stripes"),
    ),
    "validation": (
        Layout("left", 0.36, 0.5, 23, "plain"),
        Layout("near bottom", 0.55, 0.64, 25, "frame"),
    ),
    "test": (
        Layout("bottom", 0.5, 0.66, 23, "plain"),
        Layout("upper right", 0.66, 0.36, 25, "frame"),
        Layout("off centre", 0.44, 0.56, 26, "grid"),
    ),
}
"""Layouts by split; no two splits share one."""


def draw(sign: str, layout: Layout, rng: random.Random) -> bytes:
    """A PNG of one sign, e.g. "red triangle", with small jitter of place, size, colour and paper."""
    colour, shape = sign.split()
    paper = tuple(rng.randint(222, 245) for _ in range(3))
    image = Image.new("RGB", (SIDE, SIDE), paper)
    pen = ImageDraw.Draw(image)
    _draw_backdrop(pen, layout.backdrop, tuple(value - 28 for value in paper))
    x, y = (SIDE * at + rng.uniform(-4, 4) for at in (layout.x, layout.y))
    ink = tuple(min(max(value + rng.randint(-12, 12), 0), 255) for value in _COLOURS[colour])
    _draw_shape(pen, shape, x, y, layout.radius + rng.randint(-2, 2), ink)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw_backdrop(pen: ImageDraw.ImageDraw, backdrop: str, ink: tuple[int, ...]) -> None:
    steps = range(6, SIDE, 12)
    if backdrop in ("stripes", "grid"):
        for at in steps:
            pen.line((0, at, SIDE, at), fill=ink)
    if backdrop == "grid":
        for at in steps:
            pen.line((at, 0, at, SIDE), fill=ink)
    if backdrop == "dots":
        for x in steps:
            for y in steps:
                pen.ellipse((x - 1, y - 1, x + 1, y + 1), fill=ink)
    if backdrop == "frame":
        pen.rectangle((1, 1, SIDE - 2, SIDE - 2), outline=ink, width=2)


def _draw_shape(pen: ImageDraw.ImageDraw, shape: str, x: float, y: float, r: int, ink: tuple[int, ...]) -> None:
    box = (x - r, y - r, x + r, y + r)
    if shape == "disc":
        pen.ellipse(box, fill=ink)
    elif shape == "ring":
        pen.ellipse(box, outline=ink, width=max(r // 2, 4))
    elif shape == "bar":
        pen.rectangle((x - r, y - r // 2, x + r, y + r // 2), fill=ink)
    elif shape == "cross":
        pen.line((x - r, y - r, x + r, y + r), fill=ink, width=r // 2)
        pen.line((x - r, y + r, x + r, y - r), fill=ink, width=r // 2)
    elif shape == "star":
        turns = [(math.pi * k / 5 - math.pi / 2, r if k % 2 == 0 else r * 0.5) for k in range(10)]
        pen.polygon([(x + reach * math.cos(turn), y + reach * math.sin(turn)) for turn, reach in turns], fill=ink)
    else:
        sides, turn = {"triangle": (3, 0), "square": (4, 0), "diamond": (4, 45)}[shape]
        pen.regular_polygon((x, y, r), sides, rotation=turn, fill=ink)
