"""The only door through which image bytes enter: header first, pixels later, always RGB.

Bytes come from public data and from users, so nothing is believed. Format (by content, whatever the name says), size in
bytes and size in pixels are checked against the header before a pixel is decoded; whatever Pillow then stumbles over
becomes one DataError with a reason. What data name is read below a root and nowhere else, what a person at the keyboard
names wherever it is; URLs are never fetched.
"""

import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from gr_vl.data import confined, image_parts
from gr_vl.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 40_000_000
"""A photograph of 40 megapixels takes 160 MB while it is decoded; guards see about one megapixel of it."""
BOMB_PIXELS, BOMB_PIXELS_A_BYTE = 6_000_000, 200
"""A picture with more pixels than the first, and more of them in a byte of pixel data than the second, is taken for a
bomb: it would cost memory that its sender did not pay for. A blank screen of six megapixels still passes, at 48 MB."""
MAX_RATIO = 200
"""Longer side to shorter one: Qwen's image processors refuse more, in training, in vLLM and in a guard alike."""

SHRINKS = (8, 4, 2, 1)
"""Fractions of its size at which a JPEG can be decoded, as denominators: at 1/8 it takes a sixth of the time."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by EXIF's orientation. Pillow's own way writes the EXIF again and may stumble there."""
_SIDEWAYS = (5, 6, 7, 8)
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


def read_named(path: Path) -> bytes:
    """The bytes of an image that the person at the keyboard named: a file, a link to one (as in the cache of the
    Hugging Face hub) or a pipe. Header checked. Raises DataError that names it and the reason.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = f"cannot be read ({type(error).__name__})"
        raise DataError(f"image {path}: {reason}; name a file on this machine, URLs are not fetched") from None
    return _checked(path, data)


def read(path: str | Path, *, root: Path) -> bytes:
    """The bytes of an image file below `root`, header checked. Raises DataError that names the file and the reason.

    URLs are refused, and so is every path that leaves the root: by `..`, as an absolute path, or through a link.
    """
    if _URL.match(str(path)):
        raise DataError(f"image {path}: URLs are not fetched; download the file below {root} and give its path")
    return _checked(path, confined.read_bytes(path, root, MAX_BYTES))


def _checked(path: str | Path, data: bytes) -> bytes:
    try:
        size(data)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return data


def size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels as a viewer shows it, from the header alone. Raises DataError as `decode` does."""
    with _opened(data, MAX_BYTES, MAX_PIXELS) as image:
        return _upright(image, image_parts.orientation(data))


def shrink_for(size: tuple[int, int], least: tuple[int, int]) -> int:
    """The strongest of `SHRINKS` that leaves a picture of `size` at least as large as `least`.

    >>> shrink_for((1024, 1024), (512, 400)), shrink_for((1024, 1024), (513, 400)), shrink_for((10, 10), (20, 20))
    (2, 1, 1)
    """
    scale = min(size[0] // least[0], size[1] // least[1])
    return next((shrink for shrink in SHRINKS if shrink <= scale), 1)


def decode(data: bytes, *, shrink: int = 1, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture as a viewer shows it: first frame, upright, on white, RGB. Raises DataError with the reason if not.

    With `shrink`, one of `SHRINKS`, each side is divided by it and rounded up; a JPEG is then never decoded in full.
    Of 16 bits a channel the upper eight are kept; CMYK is converted without a colour profile.
    """
    turn = image_parts.orientation(data)
    with _opened(data, max_bytes, max_pixels) as image:
        full = _upright(image, turn)
        if shrink > 1:
            image.draft(None, (max(image.width // shrink, 1), max(image.height // shrink, 1)))
        image.load()
        flat = _flatten(image, data)
        if turn in _TURNS:
            flat = flat.transpose(_TURNS[turn])
    return flat.reduce(shrink) if shrink > 1 and flat.size == full else flat


def encode_png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    return _encode(image, format="PNG")


def encode_jpeg(image: Image.Image) -> bytes:
    """The picture as a JPEG file that is hard to tell from it, at about a tenth of a PNG's bytes and time."""
    return _encode(image, format="JPEG", quality=90)


def is_lossy(data: bytes) -> bool:
    """Whether an encoded picture is a JPEG."""
    return data.startswith(b"\xff\xd8")


def _encode(image: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, **options)
    return buffer.getvalue()


@contextmanager
def _opened(data: bytes, max_bytes: int, max_pixels: int) -> Iterator[Image.Image]:
    """A picture with a checked header; what fails inside the block is a DataError too."""
    if not data:
        raise DataError("image: 0 bytes; embed the encoded file itself")
    if len(data) > max_bytes:
        raise DataError(f"image: {len(data):,} bytes exceed the limit of {max_bytes:,}; encode it smaller")
    data = image_parts.plain(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, data, max_pixels)
                yield image
                return
        except DataError:
            raise
        except UnidentifiedImageError:
            reason = f"no readable {', '.join(FORMATS)} header; convert the file, or fetch it again"
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            reason = f"more than {max_pixels:,} pixels; scale it down"
        except Exception as error:  # untrusted bytes reach many parsers, and each fails in its own way
            reason = f"cut off or damaged ({type(error).__name__}: {error}); fetch it again"
    raise DataError(f"image: {reason}")


def _check_size(image: Image.Image, data: bytes, max_pixels: int) -> None:
    pixels, shape = image.width * image.height, f"{image.width} x {image.height}"
    if pixels > max_pixels:
        raise DataError(f"image: {shape} is more than {max_pixels:,} pixels; scale it down")
    if max(image.size) > MAX_RATIO * min(image.size):
        raise DataError(f"image: {shape}: the sides differ by more than {MAX_RATIO} to 1; crop it, or pad it")
    if pixels <= BOMB_PIXELS:
        return
    paid = image_parts.pixel_bytes(data, str(image.format))
    if pixels > BOMB_PIXELS_A_BYTE * paid:
        raise DataError(f"image: {shape} pixels in {paid:,} bytes look like a decompression bomb; scale it down")


def _upright(image: Image.Image, turn: int) -> tuple[int, int]:
    return (image.height, image.width) if turn in _SIDEWAYS else (image.width, image.height)


def _flatten(image: Image.Image, data: bytes) -> Image.Image:
    """Eight bits a channel, on white."""
    alpha = _alpha(image, data)
    image = _eight_bits(image)
    if alpha is None and not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    if alpha is not None:
        layer.putalpha(alpha)
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def _alpha(image: Image.Image, data: bytes) -> Image.Image | None:
    """The alpha of a PNG's one transparent colour where Pillow takes it for another: it scales the pixels to eight
    bits, and not the colour. None where Pillow is right, or nothing is transparent."""
    depth, colour = data[24], image.info.get("transparency")
    if image.format != "PNG" or colour is None or isinstance(colour, bytes) or depth not in (2, 4, 16):
        return None
    del image.info["transparency"]
    pixels = np.asarray(image)
    if depth < 8:
        clear = pixels == colour * (255 // (2**depth - 1))
    elif image.mode == "RGB":
        clear = ((pixels.astype(np.uint16) << 8 | _lower_bytes(data)) == np.array(colour)).all(axis=2)
    else:
        clear = pixels == colour
    return Image.fromarray(np.where(clear, 0, 255).astype(np.uint8))


def _lower_bytes(data: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Of a PNG of 16 bits a channel what Pillow drops: read as if the lower byte came first."""
    with Image.open(io.BytesIO(image_parts.plain(data)), formats=FORMATS) as image:
        assert isinstance(image, ImageFile.ImageFile)
        image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
        return np.asarray(image)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips deep greys instead of scaling them: a mid grey would turn white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
