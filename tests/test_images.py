"""Hostile and odd image bytes: one RGB picture, or one DataError with a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from gr_vl.data.images import decode, encode_png
from gr_vl.errors import DataError

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def near(pixel, wanted):
    return all(abs(a - b) <= 8 for a, b in zip(pixel, wanted, strict=True))


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_header(width, height):
    """A PNG that claims a size and has next to no pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"\0"))


NOISE = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "0 bytes", id="nothing"),
        pytest.param(b"hello", "no readable PNG, JPEG, WEBP header", id="text"),
        pytest.param(encoded(NOISE, "GIF"), "no readable", id="a GIF"),
        pytest.param(encoded(NOISE, "TIFF"), "no readable", id="a TIFF"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n", "no readable", id="a PostScript program"),
        pytest.param(encoded(NOISE)[:-2000], "cut off or damaged", id="half a PNG"),
        pytest.param(encoded(NOISE, "JPEG")[:900], "cut off or damaged", id="half a JPEG"),
        pytest.param(encoded(NOISE, "WEBP")[:400], "image: ", id="half a WEBP"),
        pytest.param(encoded(NOISE)[:20], "image: ", id="half a header"),
        pytest.param(png_header(8, 8), "cut off or damaged", id="a header alone"),
        pytest.param(png_header(8_000, 8_000), "8000 x 8000 is more than 40,000,000 pixels", id="too many pixels"),
        pytest.param(png_header(12_000, 12_000), "more than 40,000,000 pixels", id="a bomb that Pillow warns of"),
        pytest.param(png_header(60_000, 60_000), "more than 40,000,000 pixels", id="a bomb that Pillow refuses"),
        pytest.param(png_header(0, 5), "image: ", id="no width"),
        pytest.param(b"\x89PNG" + b"\0" * (20 * 2**20), "exceed the limit of 20,971,520", id="too many bytes"),
    ],
)
def test_what_is_no_picture_says_why(data, reason):
    with pytest.raises(DataError, match=reason):
        decode(data)


def test_a_bomb_is_refused_by_its_header():
    with pytest.raises(DataError, match="64 x 64 is more than 100 pixels"):
        decode(encoded(NOISE)[:-2000], max_pixels=100)


def transparent_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    return encoded(image, transparency=1)


def exif_rotated(kind):
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (32, 16), RED)
    image.paste(BLUE, (16, 0, 32, 16))
    return encoded(image, kind, exif=exif)


def animated(kind):
    return encoded(
        Image.new("RGB", (8, 8), RED), kind, save_all=True, append_images=[Image.new("RGB", (8, 8), BLUE)], duration=100
    )


def grey16():
    return encoded(Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16)))


@pytest.mark.parametrize(
    ("data", "size", "first", "last"),
    [
        pytest.param(encoded(Image.new("RGB", (3, 2), RED)), (3, 2), RED, RED, id="PNG"),
        pytest.param(encoded(Image.new("RGB", (8, 8), RED), "JPEG"), (8, 8), RED, RED, id="JPEG"),
        pytest.param(encoded(Image.new("RGB", (8, 8), RED), "WEBP"), (8, 8), RED, RED, id="WEBP"),
        pytest.param(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG"), (8, 8), RED, RED, id="CMYK"),
        pytest.param(encoded(Image.new("L", (2, 2), 128)), (2, 2), (128,) * 3, (128,) * 3, id="grey"),
        pytest.param(grey16(), (4, 4), (128,) * 3, (128,) * 3, id="16-bit grey"),
        pytest.param(encoded(Image.new("1", (2, 2), 1)), (2, 2), WHITE, WHITE, id="one bit"),
        pytest.param(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0))), (2, 2), WHITE, WHITE, id="transparent black"),
        pytest.param(encoded(Image.new("LA", (2, 2), (0, 0))), (2, 2), WHITE, WHITE, id="transparent grey"),
        pytest.param(transparent_palette(), (2, 1), RED, WHITE, id="a palette with a transparent entry"),
        pytest.param(animated("PNG"), (8, 8), RED, RED, id="an animated PNG"),
        pytest.param(animated("WEBP"), (8, 8), RED, RED, id="an animated WEBP"),
        pytest.param(exif_rotated("JPEG"), (16, 32), RED, BLUE, id="a JPEG turned by EXIF"),
        pytest.param(exif_rotated("PNG"), (16, 32), RED, BLUE, id="a PNG turned by EXIF"),
    ],
)
def test_every_picture_arrives_as_a_viewer_shows_it(data, size, first, last):
    image = decode(data)
    assert (image.mode, image.size) == ("RGB", size)
    assert near(image.getpixel((0, 0)), first)
    assert near(image.getpixel((size[0] - 1, size[1] - 1)), last)


def test_a_picture_survives_encoding():
    assert decode(encode_png(NOISE)).tobytes() == NOISE.tobytes()
