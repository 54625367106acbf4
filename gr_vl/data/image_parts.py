"""Which bytes of an image file carry its pixels, found without decoding one.

Whatever else stands in a file, such as notes, unknown chunks, or junk behind the end, has its sender's size: it must
neither pay for pixels nor reach a decoder.
"""

import io
import re
import struct
from collections.abc import Iterator

_PNG_CORE = (b"IHDR", b"PLTE", b"tRNS", b"eXIf", b"IDAT", b"IEND")
_PNG_NOTES = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")
"""What else may say how a picture is turned: older programs write it into text chunks of these names."""
_PNG_PIXELS = (b"IDAT", b"IEND")

_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Ends a scan: neither an escaped 255, nor one of the restart markers inside it, nor filling."""
_EOI, _SOS = 0xD9, 0xDA


def plain_png(data: bytes) -> bytes:
    """A PNG's first frame, with what turns it before its pixels, so that opening it finds that without decoding."""
    out = io.BytesIO()
    out.write(data[:8])
    for pixels in (False, True):
        for name, start, end in _png_chunks(data):
            core = name in _PNG_CORE or data.startswith(_PNG_NOTES, start + 8)
            if core and (name in _PNG_PIXELS) is pixels:
                out.write(memoryview(data)[start:end])
    return out.getvalue()


def pixel_bytes(data: bytes, format: str) -> int:
    """Bytes of the first frame's compressed pixels; `format` is PNG, JPEG or WEBP."""
    if format == "PNG":
        return sum(end - start - 12 for name, start, end in _png_chunks(data) if name == b"IDAT")
    return _webp_pixels(data) if format == "WEBP" else _jpeg_pixels(data)


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of each chunk up to the picture's end; length and name come first, a checksum last."""
    at, name = 8, b""
    while at + 8 <= len(data) and name != b"IEND":
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, at, min(at + 12 + length, len(data))
        at += 12 + length


def _webp_pixels(data: bytes) -> int:
    at, alpha = 12, 0
    while at + 8 <= len(data):
        name, length = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name in (b"VP8 ", b"VP8L"):
            return alpha + min(length, len(data) - at - 8)
        if name == b"ALPH":
            alpha = min(length, len(data) - at - 8)
        at += 24 if name == b"ANMF" else 8 + length + length % 2  # a frame's own chunks follow its header
    return 0


def _jpeg_pixels(data: bytes) -> int:
    at, found = 2, 0
    while (marker := _JPEG_MARKER.search(data, at)) and marker[0][1] != _EOI:
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        if marker[0][1] == _SOS:
            end = _JPEG_MARKER.search(data, at)
            at, start = end.start() if end else len(data), at
            found += max(at - start, 0)
    return found
