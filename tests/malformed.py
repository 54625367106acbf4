"""Requests that no server should serve: each must be refused with a 4xx. Raw bytes, since clients refuse some."""

import base64
import gzip
import json
import socket
import struct
import zlib
from contextlib import suppress

MODERATIONS, CHAT = "/v1/moderations", "/v1/chat/completions"


def raw(body=b"", path=MODERATIONS, method="POST", headers=None):
    """An HTTP request."""
    head = {"Host": "guard", "Connection": "close", "Content-Length": str(len(body))} | (headers or {})
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in head.items() if value is not None)]
    return "\r\n".join([*lines, "", ""]).encode() + body


def asked(**body):
    return raw(json.dumps(body).encode())


def told(*messages, **more):
    return raw(json.dumps({"messages": list(messages)} | more).encode(), CHAT)


def picture(url):
    return asked(input=[{"type": "image_url", "image_url": {"url": url}}])


def data_url(data, kind="image/png"):
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(width, height, rows=b""):
    """A PNG of that size by its header, whatever it holds."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


USER, ASSISTANT = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
IMAGE = {"type": "image_url", "image_url": {"url": data_url(png(1, 1, b"\0\0\0\0"))}}

JSON = {
    "nothing": raw(),
    "no JSON": raw(b"{"),
    "cut off": raw(b'{"input": "a"'),
    "a NUL": raw(b'{"input": "a"}\0'),
    "a list": raw(b'["input"]'),
    "null": raw(b"null"),
    "a wall of brackets": raw(b"[" * 100_000),
    "a wall of brackets in a field": raw(b'{"input": ' + b"[" * 100_000),
    "a wall of braces": raw(b'{"input":' * 20_000),
    "a number of many digits": raw(b'{"input": ' + b"9" * 100_000 + b"}"),
    "no number": raw(b'{"input": NaN}'),
    "no number where nobody looks": raw(b'{"input": "a", "seed": NaN}'),
    "an infinite one": raw(b'{"input": "a", "seed": -Infinity}'),
    "a key cut off": raw(b'{"\\ud83d": "a"}'),
    "a number of 5,000 digits": raw(b'{"input": "a", "seed": ' + b"9" * 5_000 + b"}"),
    "a field twice": raw(b'{"input": "a", "input": 3}'),
    "many small values": raw(b'{"input": [' + b"0," * 300_000 + b"0]}"),
}
TYPES = {
    "no input": asked(model="x"),
    "input null": asked(input=None),
    "input a number": asked(input=3),
    "input an object": asked(input={"type": "text", "text": "a"}),
    "input true": asked(input=True),
    "an empty text": asked(input=""),
    "an empty list": asked(input=[]),
    "a list of numbers": asked(input=[1, 2]),
    "a list of lists": asked(input=[["a"]]),
    "texts and parts": asked(input=["a", {"type": "text", "text": "a"}]),
    "an unknown part": asked(input=[{"type": "audio", "text": "a"}]),
    "a part without text": asked(input=[{"type": "text"}]),
    "a part whose text is a list": asked(input=[{"type": "text", "text": ["a"]}]),
    "an image without a URL": asked(input=[{"type": "image_url", "image_url": {}}]),
    "an image that is a string": asked(input=[{"type": "image_url", "image_url": "data:"}]),
    "too many texts": asked(input=["a"] * 33),
    "too many images": asked(input=[IMAGE] * 17),
    "think a word": asked(input="a", think="yes"),
    "response a number": asked(input="a", response=5),
    "response for two": asked(input=["a", "b"], response="c"),
    "too long for the model": asked(input="word " * 5_000),
    "too many characters": asked(input="a" * 500_000),
}
PICTURES = {
    name: picture(url)
    for name, url in {
        "a metadata service": "http://169.254.169.254/latest/meta-data/",
        "another host": "https://example.com/a.png",
        "loopback": "http://127.0.0.1:22/",
        "a file URL": "file:///etc/passwd",
        "a path": "/etc/passwd",
        "a share": "\\\\host\\share\\a.png",
        "a script": "javascript:alert(1)",
        "gopher": "gopher://127.0.0.1:6379/_FLUSHALL",
        "user and host": "https://example.com@169.254.169.254/",
        "a broken address": "https://[::1/a.png",
        "a line break": "https://example.com/\r\nHost: x",
        "nothing": "",
        "data without a comma": "data:image/png;base64",
        "data that is no image": data_url(b"<html>", "text/html"),
        "data without base64": "data:image/png,abc",
        "broken base64": "data:image/png;base64,####",
        "no data": "data:image/png;base64,",
        "a text": data_url(b"hello" * 10),
        "a GIF": data_url(b"GIF89a\x01\0\x01\0\0\0\0;"),
        "an SVG": data_url(b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml"),
        "a PNG cut off": data_url(png(40, 40)[:60]),
        "a PNG without pixels": data_url(png(40, 40)),
        "a PNG too wide": data_url(png(30_000, 30_000)),
        "a bomb": data_url(png(6_000, 6_000, b"\0" * 18_001 * 6_000)),
    }.items()
}
CHATS = {
    "no messages": raw(b"{}", CHAT),
    "an empty conversation": told(),
    "a system message": told({"role": "system", "content": "a"}, USER),
    "an assistant alone": told(ASSISTANT),
    "two users": told(USER, USER),
    "three messages": told(USER, ASSISTANT, USER),
    "a tool": told(USER, {"role": "tool", "content": "a"}),
    "no content": told({"role": "user", "content": None}),
    "an assistant's picture": told(USER, {"role": "assistant", "content": [IMAGE]}),
    "a stream": told(USER, stream=True),
    "two answers": told(USER, n=2),
    "a temperature": told(USER, temperature=0.7),
    "tools": told(USER, tools=[{"type": "function"}]),
    "a limit of its own": told(USER, max_tokens=1),
    "the same by its new name": told(USER, max_completion_tokens=1),
    "a limit that is no number": told(USER, max_tokens="9999"),
    "a stop": told(USER, stop=["</think>"]),
    "log-probabilities": told(USER, logprobs=True),
    "the likeliest tokens": told(USER, top_logprobs=5),
    "a penalty": told(USER, frequency_penalty=0.5),
    "a bias": told(USER, logit_bias={"7": -100}),
    "a format": told(USER, response_format={"type": "json_object"}),
}
GOOD = json.dumps({"input": "a"}).encode()
PATHS = (
    {
        f"path {path[:40]}": raw(GOOD, path)
        for path in (
            *("/", "//v1/moderations", "/v1/moderations/", "/v1/../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/docs"),
            *("/openapi.json", "/v1/moderations%00", "/v1/moderations/..;/health", "/v1/models/x", "/V1/MODERATIONS"),
            *("/" + "a" * 8_000, "/v1/moderations/../../proc/self/environ", "/static/../../x", "/redoc"),
        )
    }
    | {
        f"{method} {path}": raw(GOOD, path, method)
        for method in ("GET", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE")
        for path in (MODERATIONS, CHAT)
    }
    | {f"HEAD {path}": raw(b"", path, "HEAD") for path in (MODERATIONS, CHAT, "/v1/models/x", "/nothing")}
    | {"POST /health": raw(GOOD, "/health"), "BREW": raw(GOOD, method="BREW")}
)
HTTP = {
    "compressed": raw(gzip.compress(b"0" * 10**7), headers={"Content-Encoding": "gzip"}),
    "a length beyond the limit": raw(GOOD, headers={"Content-Length": str(10**12)}),
    "a negative length": raw(GOOD, headers={"Content-Length": "-1"}),
    "two lengths": raw(GOOD, headers={"Content-Length": "3, 4"}),
    "a broken chunk": raw(b"zz\r\n", headers={"Content-Length": None, "Transfer-Encoding": "chunked"}),
    "no HTTP": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + b"\0" * 64,
    "half a request line": b"POST\r\n\r\n",
    "a header of 100 kB": raw(GOOD, headers={"X": "a" * 100_000}),
    "a header without a colon": b"POST / HTTP/1.1\r\nHost\r\n\r\n",
}
HUGE = {"a body of 33 MiB": raw(b'{"input": "' + b"a" * (33 * 2**20) + b'"}')}
ALL = {
    f"{group}: {name}": request
    for group, table in {
        "JSON": JSON, "types": TYPES, "pictures": PICTURES, "chat": CHATS, "paths": PATHS, "HTTP": HTTP, "huge": HUGE
    }.items()
    for name, request in table.items()
}  # fmt: skip


def fire(port, request, timeout=60):
    """The status that the server answers to these bytes; 0 when it hangs up without a word."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as link:
        head = b""
        with suppress(BrokenPipeError, ConnectionResetError):
            link.sendall(request)
        with suppress(ConnectionResetError):
            while b"\r\n" not in head and (more := link.recv(4096)):
                head += more
    return int(head.split(b" ")[1]) if head.startswith(b"HTTP/1.1 ") else 0
