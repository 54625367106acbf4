"""The only door through which image bytes enter: header first, pixels later, always RGB.

Bytes come from public data and from users, so nothing is believed. Format, size in bytes and size in pixels are checked
against the header before a pixel is decoded; whatever Pillow then stumbles over becomes one DataError with a reason.
"""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from gr_vl.errors import DataError

FORMATS = ("PNG", "JPEG", "WEBP")
MAX_BYTES = 20 * 2**20
MAX_PIXELS = 40_000_000
"""A photograph of 40 megapixels takes 120 MB as RGB; guards see about one megapixel of it."""


def decode(data: bytes, *, max_bytes: int = MAX_BYTES, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """The picture as a viewer shows it: first frame, upright, on white, RGB. Raises DataError with the reason if not.

    Of 16 bits a channel the upper eight are kept; CMYK is converted without a colour profile.
    """
    if not data:
        raise DataError("image: 0 bytes; embed the encoded file itself")
    if len(data) > max_bytes:
        raise DataError(f"image: {len(data):,} bytes exceed the limit of {max_bytes:,}; encode it smaller")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                _check_size(image, max_pixels)
                image.load()
                return _flatten(_eight_bits(ImageOps.exif_transpose(image)))
        except DataError:
            raise
        except UnidentifiedImageError:
            reason = f"no readable {', '.join(FORMATS)} header; convert the file, or fetch it again"
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            reason = f"more than {max_pixels:,} pixels; scale it down"
        except Exception as error:  # untrusted bytes reach many parsers, and each fails in its own way
            reason = f"cut off or damaged ({type(error).__name__}: {error}); fetch it again"
    raise DataError(f"image: {reason}")


def encode_png(image: Image.Image) -> bytes:
    """The picture as a PNG file."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _check_size(image: Image.Image, max_pixels: int) -> None:
    if image.width * image.height > max_pixels:
        raise DataError(f"image: {image.width} x {image.height} is more than {max_pixels:,} pixels; scale it down")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips deep greys instead of scaling them: a mid grey would turn white."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))


def _flatten(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
