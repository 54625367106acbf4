"""Which bytes of an image file carry its pixels, and which of them say how it is turned; nothing is decoded here.

Whatever else stands in a file, such as notes, profiles, unknown chunks, or junk behind the end, has its sender's size
and its sender's faults: it must neither pay for pixels, nor reach a decoder, nor make a sound image unreadable.
"""

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator

from PIL import ExifTags, Image

PNG, _JPEG, _RIFF = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"RIFF"
NOTE_BYTES = 2**20
"""An orientation is looked for in so many bytes of a note. A compressed note may hold a million times as many."""

_PNG_BEFORE, _PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS"), (b"IDAT", b"IEND")
_PNG_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_EXIF, _PNG_XMP = b"Raw profile type exif\0", b"XML:com.adobe.xmp\0"
_JPEG_EXIF, _JPEG_XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_TURN = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])")

_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Ends a scan: neither an escaped 255, nor one of the restart markers inside it, nor filling."""
_JPEG_HEAD = re.compile(rb"\xff+([\x02-\xcf\xd8-\xfe])")
"""Begins a segment, after any filling."""
_EOI, _SOS, _APPS, _COMMENT = 0xD9, 0xDA, range(0xE0, 0xF0), 0xFE
_JPEG_COLOURS = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}
"""The notes of a JPEG that decide how its channels become colours, and their least length."""


def plain(data: bytes) -> bytes:
    """A PNG's first frame or a JPEG without the notes in front of its pixels; any other file as it is."""
    if data.startswith(PNG):
        return _plain_png(data)
    return _plain_jpeg(data) if data.startswith(_JPEG) else data


def orientation(data: bytes) -> int:
    """How a viewer turns the image: EXIF's number from 1 (not at all) to 8; 1 where no readable note says otherwise."""
    exif, xmp = b"", b""
    for is_xmp, note in _notes(data):
        exif, xmp = (exif, xmp or note) if is_xmp else (exif or note, xmp)
    found = _exif_turn(exif)
    if found is None and (match := _XMP_TURN.search(xmp)):
        found = int(match[1])
    return found or 1


def pixel_bytes(data: bytes, format: str) -> int:
    """Bytes of the first frame's compressed pixels; `format` is PNG, JPEG or WEBP."""
    if format == "PNG":
        return sum(end - start - 12 for name, start, end in _png_chunks(data) if name == b"IDAT")
    return _webp_pixels(data) if format == "WEBP" else _jpeg_pixels(data)


def _exif_turn(note: bytes) -> int | None:
    tags = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tags.load(note)
            turn = tags.get(ExifTags.Base.Orientation)
    except Exception:  # a note that cannot be read says nothing about the pixels
        return None
    return turn if isinstance(turn, int) and 1 <= turn <= 8 else None


def _notes(data: bytes) -> Iterator[tuple[bool, bytes]]:
    """EXIF (False) and XMP (True) of a file, in the order in which they stand."""
    if data.startswith(PNG):
        for name, start, end in _png_chunks(data):
            if name == b"eXIf":
                yield False, data[start + 8 : end - 4]
            elif name in _PNG_TEXTS and data.startswith((_PNG_EXIF, _PNG_XMP), start + 8):
                is_xmp, text = data.startswith(_PNG_XMP, start + 8), _png_text(name, data[start + 8 : end - 4])
                yield is_xmp, text if is_xmp else _from_hex(text)
    elif data.startswith(_JPEG):
        for marker, start, end in _jpeg_segments(data):
            if marker == 0xE1 and data.startswith(_JPEG_EXIF, start + 4):
                yield False, data[start + 4 : end]
            elif marker == 0xE1 and data.startswith(_JPEG_XMP, start + 4):
                yield True, data[start + 4 + len(_JPEG_XMP) : end]
    elif data.startswith(_RIFF):
        for name, start, end in _webp_chunks(data):
            if name in (b"EXIF", b"XMP "):
                yield name == b"XMP ", data[start + 8 : min(end, start + 8 + NOTE_BYTES)]


def _png_text(name: bytes, body: bytes) -> bytes:
    """The first `NOTE_BYTES` of a text chunk; empty when it is damaged."""
    _, _, text = body.partition(b"\0")
    packed = name == b"zTXt"
    if name == b"iTXt":
        packed, text = text[:1] == b"\1", text[2:].split(b"\0", 2)[-1]
    elif packed:
        text = text[1:]
    if not packed:
        return text[:NOTE_BYTES]
    try:
        return zlib.decompressobj().decompress(text, NOTE_BYTES)
    except zlib.error:
        return b""


def _from_hex(text: bytes) -> bytes:
    """What ImageMagick writes: a blank line, a name, a length, then lines of hexadecimal digits."""
    try:
        return bytes.fromhex(b"".join(text.split(b"\n")[3:]).decode("ascii"))
    except ValueError:
        return b""


def _plain_png(data: bytes) -> bytes:
    out = io.BytesIO()
    out.write(PNG)
    for wanted in (_PNG_BEFORE, _PNG_PIXELS):
        for name, start, end in _png_chunks(data):
            if name in wanted:
                out.write(memoryview(data)[start:end])
    return out.getvalue()


def _plain_jpeg(data: bytes) -> bytes:
    out, kept = io.BytesIO(), 2
    out.write(_JPEG)
    for marker, start, end in _jpeg_segments(data):
        name, least = _JPEG_COLOURS.get(marker, (b"", 1))
        noted = marker in _APPS or marker == _COMMENT
        if not noted or (name and data.startswith(name, start + 4) and end - start - 4 >= least):
            out.write(memoryview(data)[start:end])
        kept = end
    out.write(memoryview(data)[kept:])
    return out.getvalue()


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of each whole segment in front of the first scan."""
    at = 2
    while (match := _JPEG_HEAD.match(data, at)) and match[1][0] not in (_SOS, _EOI):
        start = match.end() - 2
        end = match.end() + int.from_bytes(data[match.end() : match.end() + 2])
        if not match.end() + 2 <= end <= len(data):
            return
        yield match[1][0], start, end
        at = end


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk up to the image's end; length and name come first, a checksum last."""
    at, name = 8, b""
    while at + 8 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, min(at + 12 + length, len(data))
        at += 12 + length


def _webp_pixels(data: bytes) -> int:
    alpha = 0
    for name, start, end in _webp_chunks(data):
        length = max(end - start - 8, 0)
        if name in (b"VP8 ", b"VP8L"):
            return alpha + length
        if name == b"ALPH":
            alpha = length
    return 0


def _webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk, those of a moving image's frames included; name and length come first."""
    at = 12
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        yield name, at, min(at + 8 + length, len(data))
        at += 24 if name == b"ANMF" else 8 + length + length % 2  # a frame's own chunks follow its header


def _jpeg_pixels(data: bytes) -> int:
    at, found = 2, 0
    while (marker := _JPEG_MARKER.search(data, at)) and marker[0][1] != _EOI:
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        if marker[0][1] == _SOS:
            end = _JPEG_MARKER.search(data, at)
            at, start = end.start() if end else len(data), at
            found += max(at - start, 0)
    return found
