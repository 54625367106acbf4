"""Callers that open connections and send no request, over real sockets; the guard's backend is scripted."""

import json
import socket
import time
from contextlib import ExitStack, suppress

import pytest
from endpoint import Say, serving
from factories import HARMFUL, make_text
from serving import served

pytest.importorskip("openai")
pytest.importorskip("transformers")
pytest.importorskip("fastapi")

HEAD = b"GET /health HTTP/1.1\r\nHost: guard\r\n"


@pytest.fixture(scope="module")
def address(tiny):
    """Of a server that waits half a second for a head and as long for its backend, which takes longer."""
    slow = Say(make_text(HARMFUL), delay=0.9)
    with (
        serving(lambda *_: slow) as backend,
        served(tiny, backend_url=backend.url, timeout=0.5, max_connections=4) as (url, _),
    ):
        yield ("127.0.0.1", int(url.rsplit(":", 1)[1]))


def connect(stack, address):
    return stack.enter_context(socket.create_connection(address, timeout=5))


def said(link):
    """All that the server sends until it hangs up."""
    found = b""
    with suppress(ConnectionResetError):
        while more := link.recv(4096):
            found += more
    return found


def test_a_request_that_does_not_come_ends_the_connection_however_slowly_it_trickles(address):
    with ExitStack() as stack:
        nothing, cut, growing, second = (connect(stack, address) for _ in range(4))
        began = time.monotonic()
        cut.sendall(HEAD)
        second.sendall(HEAD + b"\r\nG")
        for piece in (HEAD, *[b"X: a\r\n"] * 3):
            growing.sendall(piece)
            time.sleep(0.1)
        assert [said(link)[:13] for link in (nothing, cut, growing, second)] == [b"", b"", b"", b"HTTP/1.1 200 "]
        assert 0.4 < time.monotonic() - began < 3


def test_a_slow_answer_is_no_slow_request(address):
    body = json.dumps({"input": "a"}).encode()
    head = f"POST /v1/moderations HTTP/1.1\r\nHost: guard\r\nContent-Length: {len(body)}\r\n\r\n"
    with ExitStack() as stack:
        link = connect(stack, address)
        time.sleep(0.2)
        link.sendall(head.encode() + body)
        assert said(link).startswith(b"HTTP/1.1 504 ")  # not hung up on 0.3 s from here, but answered after 0.5 s


def test_over_the_limit_a_connection_is_told_so_and_a_place_that_is_free_is_given(address):
    with ExitStack() as stack:
        held = [connect(stack, address) for _ in range(4)]
        assert said(connect(stack, address)).startswith(b"HTTP/1.1 503 ")
        held[0].close()
        time.sleep(0.1)
        link = connect(stack, address)
        link.sendall(HEAD + b"Connection: close\r\n\r\n")
        assert said(link).startswith(b"HTTP/1.1 200 ")
