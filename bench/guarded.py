"""What the server benches share: `gr-vl serve` in a process of its own, and requests to it."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psutil


class Served:
    """A server process and its port."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self.process, self.port = process, port

    def post(self, body: dict[str, Any], path: str = "/v1/moderations", timeout: float = 300) -> tuple[int, Any]:
        """Status and decoded body."""
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            link.request("POST", path, json.dumps(body), {"content-type": "application/json"})
            answer = link.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            link.close()

    def cpu(self) -> float:
        """Processor seconds so far, which others on the machine change less than they change wall time."""
        times = psutil.Process(self.process.pid).cpu_times()
        return times.user + times.system

    def usage(self) -> tuple[float, int, int]:
        """Resident MiB, open files and sockets, threads."""
        process = psutil.Process(self.process.pid)
        return process.memory_info().rss / 2**20, process.num_fds(), process.num_threads()


@contextmanager
def served(model: str, *options: str) -> Iterator[Served]:
    """`gr-vl serve --model MODEL`, ended by SIGTERM; a graceful end is exit code 0."""
    command = [sys.executable, "-m", "gr_vl.cli", "serve", "--model", model, "--port", "0", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"running on http://127\.0\.0\.1:(\d+)", line):
            break
    else:
        raise SystemExit("the server did not start")
    try:
        yield Served(process, int(found[1]))
    finally:
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
        print(f"SIGTERM: exit code {process.wait(60)}; tracebacks in its log: {rest.count('Traceback')}")


def percentile(values: Sequence[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]
