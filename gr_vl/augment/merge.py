"""Several pictures on one canvas: two side by side, more in a grid, in reading order, on white, never enlarged.

As GuardReasoner-VL's released code: tops aligned, padded with white, then fitted into a square. Departures: each
picture is shrunk before it is pasted, since a canvas at full size could be far larger than its parts; and where a part
is a JPEG the result is one too, since a PNG would keep its noise at ten times the bytes.
"""

import math
from collections.abc import Sequence

from PIL import Image

from gr_vl.data import images
from gr_vl.data.image_cache import ImageCache


def merge(pictures: Sequence[bytes], max_side: int, cache: ImageCache | None = None) -> bytes:
    """One encoded picture of at most `max_side` x `max_side` pixels. Raises DataError when a part cannot be decoded."""
    sizes = [images.size(data) for data in pictures]
    across = len(sizes) if len(sizes) < 3 else math.ceil(math.sqrt(len(sizes)))
    lefts = _edges([max(width for width, _ in sizes[column::across]) for column in range(across)])
    tops = _edges([max(height for _, height in sizes[row : row + across]) for row in range(0, len(sizes), across)])
    scale = min(1.0, max_side / lefts[-1], max_side / tops[-1])
    width, height = max(round(lefts[-1] * scale), 1), max(round(tops[-1] * scale), 1)
    # Two strips in a row may be a longer strip than any processor takes.
    least = math.ceil(max(width, height) / images.MAX_RATIO)
    canvas = Image.new("RGB", (max(width, least), max(height, least)), "white")
    for index, (data, full) in enumerate(zip(pictures, sizes, strict=True)):
        row, column = divmod(index, across)
        left, top = round(lefts[column] * scale), round(tops[row] * scale)
        right, bottom = round((lefts[column] + full[0]) * scale), round((tops[row] + full[1]) * scale)
        canvas.paste(_at(data, full, (max(right - left, 1), max(bottom - top, 1)), cache), (left, top))
    return images.encode_jpeg(canvas) if any(map(images.is_lossy, pictures)) else images.encode_png(canvas)


def _edges(lengths: Sequence[int]) -> list[int]:
    return [sum(lengths[:count]) for count in range(len(lengths) + 1)]


def _at(data: bytes, full: tuple[int, int], wanted: tuple[int, int], cache: ImageCache | None) -> Image.Image:
    shrink = images.shrink_for(full, wanted)
    picture = images.decode(data, shrink=shrink) if cache is None else cache.picture(data, shrink)
    return picture if picture.size == wanted else picture.resize(wanted, Image.Resampling.LANCZOS)
