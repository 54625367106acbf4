"""A chat-completions server on loopback that does what a test tells it, and counts what reaches it."""

import json
import re
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

MODEL = "a-teacher"
LABELS = re.compile(r"^Task (\d), \w+ harmfulness: (harmful|unharmful|not known)", re.MULTILINE)


@dataclass(frozen=True)
class Say:
    """An answer: a completion, unless `status` or `raw` say otherwise."""

    text: str = ""
    finish: str = "stop"
    usage: tuple[int, int] | None = (100, 50)
    status: int = 200
    headers: dict = field(default_factory=dict)
    delay: float = 0.0
    cut: bool = False
    """Promise the whole body, send half of it and hang up."""
    raw: bytes | None = None


def body_of(said):
    if said.raw is not None:
        return said.raw
    if said.status != 200:
        return json.dumps(
            {"error": {"message": f"scripted {said.status}", "type": "x", "code": said.text or None}}
        ).encode()
    message = {"role": "assistant", "content": said.text}
    found = {"id": "1", "object": "chat.completion", "created": 1, "model": MODEL}
    found["choices"] = [{"index": 0, "message": message, "finish_reason": said.finish}]
    if said.usage:
        found["usage"] = dict(zip(("prompt_tokens", "completion_tokens"), said.usage, strict=True))
        found["usage"]["total_tokens"] = sum(said.usage)
    return json.dumps(found).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        said = self.server.take(self.path, dict(self.headers), request)
        time.sleep(said.delay)
        body = body_of(said)
        self.send_response(said.status)
        for name, value in ({"content-type": "application/json"} | said.headers).items():
            self.send_header(name, value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if said.cut else body)
        self.close_connection = said.cut

    def log_message(self, *_):
        pass


class Endpoint(ThreadingHTTPServer):
    """`answer(request, nth)` decides: the body of the request, and how often just that one came, from 1."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, answer):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer, self.seen, self.requests, self.headers = answer, Counter(), [], []
        self.now = self.peak = 0
        self.lock = threading.Lock()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"

    def take(self, path, headers, request):
        assert path == "/v1/chat/completions"
        key = json.dumps(request, sort_keys=True)
        with self.lock:
            self.seen[key] += 1
            self.requests.append(request)
            self.headers.append({name.lower(): value for name, value in headers.items()})
            return self.answer(request, self.seen[key])

    def handle_error(self, request, client_address):
        """A client that was killed is no news."""


@contextmanager
def serving(answer):
    server = Endpoint(answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def text_of(request):
    content = request["messages"][1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)


def good(request, _nth=1, *, lie=False):
    """What a good teacher replies: right by the labels in the prompt, or wrong in the first of them."""
    labels = [word if word in ("harmful", "unharmful") else "harmful" for _, word in LABELS.findall(text_of(request))]
    if lie:
        labels[0] = "unharmful" if labels[0] == "harmful" else "harmful"
    steps = "\n".join(f"# Task {n}\n## Reasoning Step 1\nIt is {label}." for n, label in enumerate(labels, start=1))
    result = f"Answers:\nRequest: {labels[0]}\nResponse: {labels[1]}"
    return Say(f"<think>\n{steps}\n</think>\n<result>\n{result}\n</result>")
