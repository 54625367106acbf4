"""Hostile and odd image bytes: one RGB picture, or one DataError with a reason."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gr_vl.data import image_parts, images
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


def blank_png(width, height):
    """A white picture of one bit a pixel: a thousandth of its bytes when compressed."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    rows = zlib.compress((b"\0" + b"\xff" * -(-width // 8)) * height, 1)
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


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
        pytest.param(blank_png(6_000, 1_001), "look like a decompression bomb", id="next to no bytes for its pixels"),
        pytest.param(png_header(0, 5), "image: ", id="no width"),
        pytest.param(blank_png(201, 1), "201 x 1: the sides differ by more than 200 to 1; crop", id="a strip"),
        pytest.param(blank_png(2, 402), "2 x 402: the sides differ by more than 200 to 1", id="a tall strip"),
        pytest.param(b"\x89PNG" + b"\0" * (20 * 2**20), "exceed the limit of 20,971,520", id="too many bytes"),
    ],
)
def test_what_is_no_picture_says_why(data, reason):
    with pytest.raises(DataError, match=reason):
        decode(data)


BOMB = blank_png(6_000, 1_001)
NOTE = chunk(b"tEXt", b"Comment\0" + b"a" * 40_000)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(BOMB + bytes(40_000), id="with zeros behind its end"),
        pytest.param(BOMB[:33] + NOTE + BOMB[33:], id="with a note before its pixels"),
        pytest.param(BOMB[:-12] + NOTE + BOMB[-12:], id="with a note behind its pixels"),
        pytest.param(BOMB[:33] + chunk(b"prIv", bytes(40_000)) + BOMB[33:], id="with a chunk that nobody knows"),
        pytest.param(BOMB[:33] + chunk(b"eXIf", bytes(40_000)) + BOMB[33:], id="with much EXIF"),
    ],
)
def test_padding_does_not_pay_for_pixels(data):
    assert 200 * len(data) > 6_000 * 1_001
    with pytest.raises(DataError, match="look like a decompression bomb"):
        decode(data)


def riff(*chunks):
    body = b"".join(name + struct.pack("<I", len(data)) + data + bytes(len(data) % 2) for name, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


FRAME = (b"ANMF", bytes(16) + b"ALPH" + struct.pack("<I", 2) + b"ab" + b"VP8 " + struct.pack("<I", 4) + b"cdef")
SEGMENT, SCAN = b"\xff\xe1\0\x06\xff\xda\xff\xd9", b"\xff\xda\0\x04ab"


@pytest.mark.parametrize(
    ("data", "kind", "expected"),
    [
        pytest.param(riff((b"VP8L", b"abc"), (b"XMP ", bytes(90))) + bytes(9), "WEBP", 3, id="a WEBP"),
        pytest.param(riff((b"EXIF", bytes(91)), (b"VP8 ", b"abc")), "WEBP", 3, id="a WEBP with a note first"),
        pytest.param(riff((b"ANIM", bytes(6)), FRAME, FRAME), "WEBP", 6, id="a moving WEBP with transparency"),
        pytest.param(riff((b"XMP ", b"")), "WEBP", 0, id="a WEBP without pixels"),
        pytest.param(riff((b"VP8 ", b"abcdef"))[:-3], "WEBP", 3, id="half a WEBP"),
        pytest.param(b"\xff\xd8" + SEGMENT + SCAN + b"abc\xff\xd9" + b"junk" * 9, "JPEG", 3, id="a JPEG"),
        pytest.param(b"\xff\xd8" + (SCAN + b"a\xff\0\xff\xd0b" + SEGMENT) * 2, "JPEG", 12, id="a JPEG in two scans"),
        pytest.param(b"\xff\xd8" + SCAN + b"a", "JPEG", 1, id="half a JPEG"),
        pytest.param(b"\xff\xd8" + SCAN[:4], "JPEG", 0, id="a JPEG without pixels"),
    ],
)
def test_only_pixel_data_counts(data, kind, expected):
    assert image_parts.pixel_bytes(data, kind) == expected


@pytest.mark.parametrize("options", [{}, {"progressive": True}], ids=["one scan", "progressive"])
def test_of_a_real_jpeg_all_but_the_headers_counts(options):
    data = encoded(NOISE, "JPEG", quality=95, **options)
    assert len(data) - 1_000 < image_parts.pixel_bytes(data, "JPEG") < len(data)


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


def turned_behind_its_pixels():
    """A PNG as some programs write it: EXIF is its last chunk."""
    data = exif_rotated("PNG")
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4])
    return data[:start] + data[end:-12] + data[start:end] + data[-12:]


def turned_by_xmp():
    data = encoded(Image.open(io.BytesIO(turned_behind_its_pixels())))
    note = b"XML:com.adobe.xmp\0\0\0\0\0" + b'<rdf tiff:Orientation="6"/>'
    return data[:33] + chunk(b"iTXt", note) + data[33:]


def noted(data, *notes):
    """A PNG or a JPEG with further chunks or segments in front of what it has."""
    at = 33 if data.startswith(b"\x89PNG") else 2
    return data[:at] + b"".join(notes) + data[at:]


def itxt(keyword, text, packed):
    body = zlib.compress(text) if packed else text
    return chunk(b"iTXt", keyword + b"\0" + bytes([packed]) + b"\0\0\0" + body)


def segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def exif_tags(*entries):
    """EXIF with raw entries of (tag, type, count, four bytes), and sixteen bytes behind them."""
    body = b"".join(struct.pack(">HHI", tag, kind, count) + value for tag, kind, count, value in entries)
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + body + bytes(4) + struct.pack(">ii", -1, 0) + bytes(8)


SIX = (0x0112, 3, 1, b"\0\x06\0\0")
MINUS_ONE_TO_ZERO = (0x011A, 10, 1, struct.pack(">I", 38))
TURN = exif_tags(SIX)
UPRIGHT = Image.new("RGB", (32, 16), RED)
UPRIGHT.paste(BLUE, (16, 0, 32, 16))
LONG_XMP = b'<rdf tiff:Orientation="6"/>' + b"uuid:" * 400_000
WRONG_SUM = chunk(b"eXIf", TURN)[:-4] + bytes(4)


@pytest.mark.parametrize(
    ("data", "turned"),
    [
        pytest.param(
            noted(encoded(UPRIGHT, "JPEG"), segment(0xE1, b"Exif\0\0" + exif_tags(SIX, MINUS_ONE_TO_ZERO))),
            True,
            id="a rational of -1 to 0 beside the orientation",
        ),
        pytest.param(noted(encoded(UPRIGHT), chunk(b"eXIf", exif_tags(SIX, MINUS_ONE_TO_ZERO))), True, id="as a PNG"),
        pytest.param(encoded(UPRIGHT, "WEBP", exif=exif_tags(SIX, MINUS_ONE_TO_ZERO)), True, id="as a WEBP"),
        pytest.param(encoded(UPRIGHT, "WEBP", xmp=b'<a tiff:Orientation="6">'), True, id="a WEBP turned by XMP"),
        pytest.param(encoded(UPRIGHT, "JPEG", xmp=b"<tiff:Orientation>6<"), True, id="a JPEG turned by XMP"),
        pytest.param(noted(encoded(UPRIGHT), itxt(b"XML:com.adobe.xmp", LONG_XMP, True)), True, id="long packed XMP"),
        pytest.param(noted(encoded(UPRIGHT), itxt(b"XML:com.adobe.xmp", LONG_XMP, False)), True, id="long plain XMP"),
        pytest.param(
            noted(encoded(UPRIGHT), itxt(b"XML:com.adobe.xmp", LONG_XMP[27:] + LONG_XMP[:27], True)),
            False,
            id="an orientation behind two megabytes of XMP",
        ),
        pytest.param(
            noted(encoded(UPRIGHT), chunk(b"zTXt", b"Raw profile type exif\0\0" + b"no zlib")), False, id="no zlib"
        ),
        pytest.param(
            noted(
                encoded(UPRIGHT),
                chunk(b"tEXt", b"Raw profile type exif\0\nexif\n%8d\n" % len(TURN) + TURN.hex().encode()),
            ),
            True,
            id="ImageMagick's hexadecimal EXIF",
        ),
        pytest.param(
            noted(encoded(UPRIGHT), chunk(b"tEXt", b"Raw profile type exif\0\nexif\n8\nxyz")), False, id="bad digits"
        ),
        pytest.param(noted(encoded(UPRIGHT), chunk(b"eXIf", b"MM\0*\0\0\xff\xff")), False, id="EXIF that ends early"),
        pytest.param(noted(encoded(UPRIGHT), chunk(b"eXIf", b"junk")), False, id="EXIF that is none"),
        pytest.param(noted(encoded(UPRIGHT), WRONG_SUM), True, id="EXIF with a wrong checksum"),
        pytest.param(
            noted(encoded(UPRIGHT), chunk(b"eXIf", exif_tags((0x0112, 2, 2, b"6\0\0\0")))), False, id="a word"
        ),
        pytest.param(
            noted(encoded(UPRIGHT), chunk(b"eXIf", exif_tags((0x0112, 3, 1, b"\0\x09\0\0")))), False, id="nine"
        ),
        pytest.param(noted(encoded(UPRIGHT), chunk(b"iCCP", b"icc\0\0junk")), False, id="a broken colour profile"),
        pytest.param(
            noted(encoded(UPRIGHT, "JPEG"), segment(0xE2, b"ICC_PROFILE\0")), False, id="a JPEG's short profile"
        ),
        pytest.param(
            noted(encoded(UPRIGHT, "JPEG"), segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0")),
            False,
            id="Photoshop's notes that end early",
        ),
        pytest.param(
            noted(encoded(UPRIGHT, "JPEG"), segment(0xE2, b"MPF\0MM\0*\0\0\0\x08\xff\xff")),
            False,
            id="an index of images that is none",
        ),
        pytest.param(noted(encoded(UPRIGHT, "JPEG"), b"\xff" * 9 + segment(0xFE, b"note")), False, id="filling"),
        pytest.param(noted(encoded(UPRIGHT, "JPEG"), segment(0xEE, b"Adobe")), False, id="Adobe's mark, too short"),
    ],
)
def test_a_note_beside_the_pixels_turns_the_image_or_says_nothing(data, turned):
    image = decode(data)
    assert image.size == images.size(data) == ((16, 32) if turned else (32, 16))
    assert near(image.getpixel((0, 0)), RED)
    assert near(image.getpixel((image.width - 1, image.height - 1)), BLUE)


def keyed(depth, colour, row, key):
    """A PNG of one row whose pixels of the colour `key` are transparent."""
    channels = 3 if colour == 2 else 1
    header = struct.pack(">IIBBBBB", len(row) * 8 // depth // channels, 1, depth, colour, 0, 0, 0)
    parts = [
        chunk(b"IHDR", header),
        chunk(b"tRNS", key),
        chunk(b"IDAT", zlib.compress(b"\0" + row)),
        chunk(b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("data", "first", "last"),
    [
        pytest.param(keyed(1, 0, b"\x01", b"\0\1"), (0, 0, 0), WHITE, id="1 bit"),
        pytest.param(keyed(1, 0, b"\x7f", b"\0\0"), WHITE, WHITE, id="1 bit, black is clear"),
        pytest.param(keyed(2, 0, b"\x1b", b"\0\0"), WHITE, WHITE, id="2 bits: 0 is clear"),
        pytest.param(keyed(2, 0, b"\x55", b"\0\1"), WHITE, WHITE, id="2 bits: 1 is clear"),
        pytest.param(keyed(4, 0, b"\x56", b"\0\x06"), (85, 85, 85), WHITE, id="4 bits"),
        pytest.param(keyed(8, 0, b"\x55\x56", b"\0\x56"), (85, 85, 85), WHITE, id="8 bits"),
        pytest.param(keyed(16, 0, b"\x12\x34\x12\x35", b"\x12\x35"), (18, 18, 18), WHITE, id="16 bits"),
        pytest.param(keyed(8, 2, b"\1\2\3\4\5\6", b"\0\4\0\5\0\6"), (1, 2, 3), WHITE, id="8 bits a channel"),
        pytest.param(
            keyed(16, 2, b"\x12\x34" * 2 + b"\x12\x35" + b"\x12\x34" * 3, b"\x12\x34" * 3),
            (18, 18, 18),
            WHITE,
            id="16 bits a channel",
        ),
        pytest.param(
            keyed(16, 2, b"\x12\x34" * 3 + b"\0\x12" * 3, b"\0\x12" * 3),
            (18, 18, 18),
            WHITE,
            id="16 bits a channel: a colour of small numbers",
        ),
    ],
)
def test_the_transparent_colour_of_a_png_is_white_and_no_other(data, first, last):
    image = decode(data)
    assert (image.getpixel((0, 0)), image.getpixel((image.width - 1, 0))) == (first, last)


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
        pytest.param(blank_png(200, 1), (200, 1), WHITE, WHITE, id="a strip of 200 to 1"),
        pytest.param(blank_png(1, 200), (1, 200), WHITE, WHITE, id="a strip of 1 to 200"),
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
        pytest.param(turned_behind_its_pixels(), (16, 32), RED, BLUE, id="a PNG turned by EXIF behind its pixels"),
        pytest.param(turned_by_xmp(), (16, 32), RED, BLUE, id="a PNG turned by XMP"),
    ],
)
def test_every_picture_arrives_as_a_viewer_shows_it(data, size, first, last):
    image = decode(data)
    assert (image.mode, image.size) == ("RGB", size)
    assert images.size(data) == size
    assert near(image.getpixel((0, 0)), first)
    assert near(image.getpixel((size[0] - 1, size[1] - 1)), last)


HIGH_WATER = """
import sys
from pathlib import Path
from gr_vl.data.images import decode
from gr_vl.errors import DataError

def high_water():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))

decode(Path(sys.argv[1]).read_bytes())
before = high_water()
for path in sys.argv[2:]:
    try:
        decode(Path(path).read_bytes(), shrink=8)
        end = "decoded"
    except DataError:
        end = "refused"
    print(Path(path).name, end, (high_water() - before) // 1024)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_no_file_costs_64_megabytes(tmp_path):
    """A process of its own: its high-water mark begins at its start."""
    text, blank = (b"Raw profile type exif\0\0" + zlib.compress(b"a" * 2**27, 1)), blank_png(8, 8)
    bomb = blank_png(6_300, 6_300)
    files = {
        "small": encoded(NOISE, "JPEG"),
        "200_megapixels": blank_png(20_000, 10_000),
        "bomb_below_the_cap": bomb,
        "bomb_with_zeros_behind": bomb + bytes(200_000),
        "bomb_with_a_note": bomb[:33] + chunk(b"tEXt", b"Comment\0" + b"a" * 200_000) + bomb[33:],
        "text_of_128_megabytes": blank[:33] + chunk(b"zTXt", text) + blank[33:],
        "many_notes": blank[:33] + chunk(b"tEXt", b"a\0") * 1_000_000 + blank[33:],
        "photograph_of_36_megapixels": encoded(Image.new("L", (6_000, 6_000), 90), "JPEG"),
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", HIGH_WATER, *(str(tmp_path / name) for name in files)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    said = [line.split() for line in lines]
    assert [(name, end) for name, end, _ in said] == [
        ("200_megapixels", "refused"),
        ("bomb_below_the_cap", "refused"),
        ("bomb_with_zeros_behind", "refused"),
        ("bomb_with_a_note", "refused"),
        ("text_of_128_megabytes", "decoded"),
        ("many_notes", "decoded"),
        ("photograph_of_36_megapixels", "decoded"),
    ]
    assert max(int(megabytes) for _, _, megabytes in said) <= 64


def gradient(width, height):
    ramp = np.linspace(0, 255, width, dtype=np.uint8)
    return Image.fromarray(np.dstack([np.tile(ramp, (height, 1))] * 3))


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("shrink", [1, 2, 4, 8])
@pytest.mark.parametrize("turned", [False, True], ids=["as it lies", "turned by EXIF"])
def test_a_shrunken_picture_is_the_whole_one_made_smaller(kind, shrink, turned):
    exif = Image.Exif()
    exif[0x0112] = 6 if turned else 1
    data = encoded(gradient(101, 67), kind, exif=exif)
    whole, small = decode(data), decode(data, shrink=shrink)
    assert images.size(data) == whole.size == ((67, 101) if turned else (101, 67))
    assert small.size == tuple(-(-side // shrink) for side in whole.size)
    expected = np.asarray(whole.resize(small.size, Image.Resampling.BOX)).astype(int)
    assert np.abs(np.asarray(small).astype(int) - expected).max() <= 12


NOTED = encoded(NOISE)[:33] + chunk(b"tEXt", b"Software\0a") + encoded(NOISE)[33:]


@pytest.mark.parametrize(
    "data",
    [encoded(NOISE), NOTED, exif_rotated("PNG"), encoded(NOISE, "JPEG")],
    ids=["PNG", "PNG with a note", "PNG with EXIF", "JPEG"],
)
def test_the_size_is_known_without_a_pixel(data):
    assert images.size(data[: len(data) * 3 // 4]) == images.size(data)


def test_the_content_decides_what_a_file_is(tmp_path):
    (tmp_path / "photo.png").write_bytes(encoded(NOISE, "JPEG"))
    assert decode(images.read("photo.png", root=tmp_path)).size == (64, 64)


def test_a_picture_survives_encoding():
    assert decode(encode_png(NOISE)).tobytes() == NOISE.tobytes()
