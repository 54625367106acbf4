"""How many pairs a second two 1-megapixel JPEGs are merged, beside the shortest loop that Pillow allows.

    python bench/concat.py [--pairs N] [--full]

Targets: 70 pairs a second and core from JPEG, 300 from the cache, 1.7 times that on two cores. `--full` builds the
published set, 9,600 samples and 2,400 pairs, in two processes: at most 2 minutes. Every third sample is a text.
"""

import argparse
import io
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from gr_vl.augment.concat import augmented_set
from gr_vl.augment.merge import merge
from gr_vl.data.image_cache import ImageCache
from gr_vl.schema import Label, Sample, Task

SIDE, DISTINCT = 1024, 16
GIGABYTE = 10**9


def photograph(seed: int) -> bytes:
    """A JPEG with the statistics of one: smooth shapes, some grain, about 250 kB."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 255, (24, 24, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)).astype(np.int16)
    grainy = np.clip(smooth + draw.normal(0, 6, smooth.shape), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(grainy).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def plain(pair: tuple[bytes, bytes]) -> bytes:
    """What everybody writes, and the released code does: decode, paste at full size, thumbnail, save."""
    left, right = (Image.open(io.BytesIO(data)).convert("RGB") for data in pair)
    canvas = Image.new("RGB", (left.width + right.width, max(left.height, right.height)), "white")
    canvas.paste(left, (0, 0))
    canvas.paste(right, (left.width, 0))
    canvas.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    canvas.save(buffer, format="JPEG", quality=90)
    return buffer.getvalue()


def seconds(work: Callable[[], object]) -> float:
    """By the clock."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def rate(name: str, work: Callable[[], object], number: int) -> None:
    """Print pairs a second, by the clock and by the time that this process had a core."""
    begin = time.process_time()
    clock = seconds(work)
    print(f"{name:<28}{number / clock:>8.0f} pairs/s{number / (time.process_time() - begin):>8.0f} pairs/s of CPU time")


def corpus(number: int, photographs: list[bytes], *, texts: bool) -> list[Sample]:
    """Samples over a few pictures; each gets bytes of its own, as JPEG ignores what follows its end."""
    samples = []
    for i in range(number):
        data = () if texts and i % 3 == 0 else (photographs[i % DISTINCT] + i.to_bytes(4, "big"),)
        truth = {Task.PROMPT: (Label.HARMFUL, Label.UNHARMFUL)[i % 2]}
        samples.append(Sample(f"s{i}", "bench", "What is it?", None, data, truth))
    return samples


def main(number: int, full: bool) -> None:
    """Measure and print."""
    photographs = [photograph(seed) for seed in range(DISTINCT)]
    pairs = [(photographs[i % DISTINCT], photographs[(i + 1) % DISTINCT]) for i in range(number)]
    load = os.getloadavg()[0]
    print(f"{number} pairs of {SIDE} x {SIDE} JPEGs, {os.cpu_count()} cores, load {load:.1f} before the start")
    rate("plain Pillow loop", lambda: [plain(pair) for pair in pairs], number)
    rate("ours, from JPEG", lambda: [merge(pair, SIDE) for pair in pairs], number)
    with tempfile.TemporaryDirectory() as folder:
        cache = ImageCache(Path(folder), GIGABYTE)
        for pair in pairs[:DISTINCT]:
            merge(pair, SIDE, cache)
        rate("ours, from the cache", lambda: [merge(pair, SIDE, cache) for pair in pairs], number)
    samples = corpus(number, photographs, texts=False)
    one, two = (spent(samples, workers) for workers in (1, 2))
    print(f"{'speed-up of two processes':<28}{one / two:>8.2f}")
    if full:
        samples = corpus(9_600, photographs, texts=True)
        took = seconds(lambda: augmented_set(samples, 0.2, 0, workers=2))
        print(f"{'9,600 + 2,400, 2 processes':<28}{took:>8.0f} s")


def spent(samples: list[Sample], workers: int) -> float:
    """Seconds that more pairs take than few: without what it takes to start the processes."""
    few, many = (seconds(lambda s=share: augmented_set(samples, s, 0, workers=workers)) for share in (0.1, 0.75))
    return many - few


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--full", action="store_true")
    arguments = parser.parse_args()
    main(arguments.pairs, arguments.full)
