"""A teacher run that is killed: no call twice, and the files of a run that was never killed."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from dataclasses import replace

import pytest
from endpoint import MODEL, good, serving, text_of
from factories import HARMFUL, UNHARMFUL, make_png, make_sample

pytest.importorskip("openai")

from gr_vl.data import io

# Not for verl, but for its time: every start imports the client anew.
pytestmark = pytest.mark.verl

KILLS, FILES = 10, ("out.parquet", "out.quarantine.jsonl")


def answer(request, _nth):
    """Of every 16 samples one never gets a usable reply, and three more only the second time."""
    text = text_of(request)
    draw = zlib.crc32(text[: text.index("Right answers")].encode())
    lie = draw % 16 == 0 or (draw % 16 < 4 and "Earlier replies" not in text)
    return replace(good(request, lie=lie), delay=0.02 + draw % 5 * 0.01)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "in.parquet"
    samples = [
        make_sample(
            str(i), (HARMFUL, UNHARMFUL)[i % 2], prompt=f"Case {i}", images=(make_png(i),) if i % 4 == 0 else ()
        )
        for i in range(96)
    ]
    io.write(path, samples)
    return path


def start(corpus, out, server, **options):
    command = [
        sys.executable,
        "-m",
        "gr_vl.cli",
        "data",
        "reason",
        corpus,
        out,
        "--model",
        MODEL,
        "--base-url",
        server.url,
        "--dialect",
        "guardreasoner_vl",
    ]
    return subprocess.Popen(
        [*map(str, command), "--yes", "--concurrency", "4"],
        env=os.environ | {"OPENAI_API_KEY": "none"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        **options,
    )


def wait_for(condition, process, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < until
        time.sleep(0.002)


def files(folder):
    return [(folder / name).read_bytes() for name in FILES]


def test_killed_at_random_ten_times_no_call_is_made_twice_and_the_files_are_the_same(tmp_path, corpus):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    with serving(answer) as server:
        assert start(corpus, whole / "out.parquet", server).wait() == 0
        wanted = server.seen.copy()
    draw, begun = random.Random(5), 0
    with serving(answer) as server:
        for kill in range(KILLS):
            process = start(corpus, killed / "out.parquet", server)
            if kill % 5 == 4:  # while it starts
                time.sleep(draw.uniform(0.0, 1.0))
            else:
                goal = len(server.requests) + draw.randint(1, 10)
                wait_for(lambda goal=goal: len(server.requests) >= goal, process)
                time.sleep(draw.uniform(0.0, 0.05))
            begun += process.poll() is None
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        assert start(corpus, killed / "out.parquet", server).wait() == 0
        assert server.seen == wanted
    assert begun == KILLS
    assert set(wanted.values()) == {1}
    assert files(killed) == files(whole)
    assert files(whole)[1].count(b"\n") > 0
    summary = [json.loads((folder / "out.summary.json").read_text()) for folder in (whole, killed)]
    assert summary[0] == summary[1]


def test_when_the_worker_itself_is_killed_only_calls_in_flight_are_repeated_and_paid_for(tmp_path, corpus):
    import psutil

    with serving(answer) as server:
        process = start(corpus, tmp_path / "out.parquet", server)
        wait_for(lambda: len(server.requests) >= 10, process)
        for worker in psutil.Process(process.pid).children():
            worker.kill()
        assert process.wait() == 1
        assert start(corpus, tmp_path / "out.parquet", server).wait() == 0
        repeated = [count for count in server.seen.values() if count > 1]
    rows = [json.loads(line) for line in (tmp_path / "out.calls.jsonl").read_text().splitlines()]
    lost = [row for row in rows if row["event"] == "lost"]
    assert 1 <= len(lost) <= 4
    assert len(repeated) <= len(lost)
    assert set(repeated) <= {2}
    paid = sum(row["tokens"] for row in rows if row["event"] in ("reply", "lost"))
    assert json.loads((tmp_path / "out.summary.json").read_text())["tokens"] == paid
