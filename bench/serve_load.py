"""Requests a second of `gr-vl serve`, beside a bare `transformers` loop over the same requests in the same run.

    python bench/serve_load.py runs/demo/rl/model runs/demo/data/test.parquet [SECONDS] [CALLERS]

A closed loop on loopback: each caller sends its next request when it has an answer; the rate counts until the last
answer. The bare loop calls `model.generate` for one request after another, without scores. Then four times as many
callers as a short queue holds: what is shed, and whether what was answered says the same as before. Processor time a
request is that of the process that runs the model. Set OMP_NUM_THREADS.
"""

import base64
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from guarded import Served, percentile, served

from gr_vl.data import io
from gr_vl.schema import Sample

SAMPLES, QUEUE = 24, 4


def body(sample: Sample, *, think: bool) -> dict[str, Any]:
    """A sample as a request."""
    parts: list[dict[str, Any]] = [{"type": "text", "text": sample.prompt}] if sample.prompt else []
    for data in sample.images:
        url = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        parts.append({"type": "image_url", "image_url": {"url": url}})
    return {"input": parts, "think": think} | ({} if sample.response is None else {"response": sample.response})


def loop(server: Served, bodies: Sequence[dict[str, Any]], seconds: float, callers: int) -> list[Any]:
    """Index, status, answer and seconds of every request that `callers` threads sent in that time."""
    end, lock, found, turn = time.perf_counter() + seconds, threading.Lock(), [], iter(range(10**9))

    def call(_: int) -> None:
        while time.perf_counter() < end:
            with lock:
                index = next(turn) % len(bodies)
            began = time.perf_counter()
            status, answer = server.post(bodies[index])
            found.append((index, status, answer, time.perf_counter() - began))
            if status == 429:
                time.sleep(0.05)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, range(callers)))
    return found


class Clock:
    """Wall and processor seconds of a block, the latter by `cpu`."""

    def __init__(self, cpu: Callable[[], float]) -> None:
        self._cpu = cpu

    def __enter__(self) -> "Clock":
        self.wall, self.cpu = -time.perf_counter(), -self._cpu()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += self._cpu()

    def line(self, name: str, times: Sequence[float]) -> str:
        """Rate, processor time and percentiles of requests that took these times."""
        p50, p99 = (1000 * percentile(times, share) for share in (0.5, 0.99))
        rate, cpu = len(times) / self.wall, 1000 * self.cpu / len(times)
        return f"{name:<34} {rate:6.2f}/s  cpu {cpu:6.0f} ms  p50 {p50:6.0f} ms  p99 {p99:6.0f} ms  ({len(times)})"


def bare(model: str, samples: Sequence[Sample], seconds: float) -> str:
    """A plain generate loop, one line."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    from gr_vl import dialects, specs
    from gr_vl.encoding import Encoder

    encoder = Encoder(AutoProcessor.from_pretrained(model), dialects.get(specs.find(Path(model))))
    net = AutoModelForImageTextToText.from_pretrained(model, dtype=torch.float32).eval()
    times: list[float] = []
    with torch.inference_mode(), Clock(time.process_time) as clock:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            began, prompt = time.perf_counter(), encoder.prompt(samples[len(times) % len(samples)])
            ids = torch.tensor([prompt.ids])
            kinds = (ids == net.config.image_token_id).int()
            net.generate(input_ids=ids, mm_token_type_ids=kinds, **prompt.features, max_new_tokens=256, do_sample=False)
            times.append(time.perf_counter() - began)
    return clock.line("bare transformers generate loop", times)


def labels(answer: Any) -> Any:
    """What must not depend on the load."""
    return answer["results"][0]["labels"]


def main(model: str, corpus: str, seconds: float, callers: int) -> int:
    """Measure and print; returns 1 when an answer under load differs from the one before it."""
    samples = io.read(Path(corpus))[:SAMPLES]
    reference: dict[bool, list[Any]] = {}
    with served(model, "--max-tokens", "256", "--timeout", "300", "--queue", "256") as server:
        for think in (True, False):
            bodies = [body(sample, think=think) for sample in samples]
            reference[think] = [labels(server.post(item)[1]) for item in bodies]
            for number in (1, callers):
                with Clock(server.cpu) as clock:
                    times = [row[3] for row in loop(server, bodies, seconds, number)]
                print(clock.line(f"served, think={think}, {number} callers", times), flush=True)
    print(bare(model, samples, seconds), flush=True)
    options = (
        "--max-tokens",
        "256",
        "--timeout",
        "300",
        "--queue",
        str(QUEUE),
        "--max-items",
        "1",
        "--batch-size",
        str(QUEUE),
    )
    with served(model, *options) as server, Clock(server.cpu) as clock:
        found = loop(server, [body(sample, think=True) for sample in samples], seconds, 4 * QUEUE)
    good = [row for row in found if row[1] == 200]
    wrong = sum(labels(row[2]) != reference[True][row[0]] for row in good)
    print(clock.line(f"queue of {QUEUE}, {4 * QUEUE} callers, answered", [row[3] for row in good]))
    print(f"statuses {dict(Counter(row[1] for row in found))}, answers that differ from the unloaded ones: {wrong}")
    return int(wrong > 0 or {row[1] for row in found} != {200, 429})


if __name__ == "__main__":
    given = (*sys.argv[1:], *("20", "16")[len(sys.argv) - 3 :])
    sys.exit(main(given[0], given[1], float(given[2]), int(given[3])))
