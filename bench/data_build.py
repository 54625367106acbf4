"""A corpus of the published size built, checked and freed of duplicates: seconds and peak memory of all processes.

    python bench/data_build.py [--rows N] [--keep FOLDER]

Target for 123,096 rows (63,799 text, 13,267 image, 46,030 text-image) on two cores: at most 20 minutes and 4 GB, for
`data build` and `data validate` together. Content is neutral, pictures are JPEGs of 0.2 to 0.8 megapixels; one row in
50 is a copy, one in 50 nearly one, one in 100 is corrupt, and a benchmark of 2,000 rows lies half in the corpus.
Making it is not timed. With --keep the corpus stays, and is not made again.
"""

import argparse
import io
import os
import random
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from gr_vl.data import io as corpora
from gr_vl.data.build import recipe, run
from gr_vl.data.build.validate import Report, validate
from gr_vl.data.build.watch import Watch
from gr_vl.data.sources.base import Refused, Source
from gr_vl.launch import State
from gr_vl.schema import Label, Modality, Sample, Task

PUBLISHED = {"text": 63_799, "image": 13_267, "text_image": 46_030}
COPY, NEAR, CORRUPT = 50, 50, 100
"""One row in so many."""
RECIPE = """
seed: 1
splits: {train: 0.98, validation: 0.01, test: 0.01}
parts:
  text: {sources: {text: text}}
  image: {sources: {image: image}}
  text_image: {sources: {text_image: text_image}}
benchmarks: {benchmark: benchmark}
"""
WORDS = [a + b + c for a in "bdkmnprst" for b in "aeiou" for c in ("la", "le", "li", "lo", "lu", "ma", "me")]
SIZES = ((640, 480), (500, 375), (800, 600), (480, 640), (1024, 768))


def photograph(draw: np.random.Generator, grain: np.ndarray) -> bytes:
    """A JPEG of 40 to 200 kB: smooth shapes and some grain."""
    width, height = SIZES[draw.integers(len(SIZES))]
    coarse = Image.fromarray(draw.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).astype(np.int16)
    picture = np.clip(smooth + grain[:height, :width], 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    return buffer.getvalue()


def made(modality: str, number: int) -> Iterator[Sample]:
    """Rows of a modality, with copies, near copies and corrupt ones."""
    draw, pixels = random.Random(modality), np.random.default_rng(len(modality))
    grain = pixels.normal(0, 6, (1024, 1024, 1)).astype(np.int16)
    last = None
    for i in range(number):
        words = draw.choices(WORDS, k=draw.randint(20, 120))
        prompt = "" if modality == "image" else " ".join(words)
        response = None if modality == "image" else " ".join(draw.choices(WORDS, k=draw.randint(40, 250)))
        images = () if modality == "text" else (photograph(pixels, grain),)
        labels = {Task.PROMPT: list(Label)[i % 2]} | ({} if response is None else {Task.RESPONSE: list(Label)[i % 2]})
        sample = Sample(f"{modality}-{i}", modality, prompt, response, images, labels)
        if last is not None and i % COPY == 1:
            sample = replace(last, id=sample.id)
        elif last is not None and i % NEAR == 2:
            sample = replace(last, id=sample.id, prompt=last.prompt and f"{last.prompt} so")
        elif i % CORRUPT == 3:
            sample = replace(sample, images=tuple(data[: len(data) // 2] for data in images), labels={})
        yield sample
        last = sample


def asked(rows: Iterable[Sample], number: int) -> Iterator[Sample]:
    """A benchmark: rows of the corpus, and as many that are not in it."""
    for i, sample in enumerate(rows):
        if i % 7 == 0 and sample.labels and sample.prompt:
            yield replace(sample, id=f"b{i}", source="benchmark")
            yield replace(sample, id=f"c{i}", source="benchmark", prompt=sample.prompt[::-1], images=())
            number -= 2
        if number <= 0:
            return


def read(folder: Path) -> Iterator[Sample | Refused]:
    """The rows of a folder."""
    yield from corpora.iterate(folder / "rows.parquet")


def source(name: str) -> Source:
    """What the recipe mixes."""
    return Source(name, name, "", "", "rows.parquet", tuple(Task), tuple(Modality), read, benchmark=name == "benchmark")


def cpu() -> float:
    """Seconds of a core that this process and its ended children have had."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def timed(name: str, rows: int, states: Iterable[State]) -> float:
    """Run, print, and return the seconds."""
    begin, busy, peak = time.perf_counter(), cpu(), 0.0
    for state in states:
        peak = max(peak, state.peak_rss_gb)
    seconds = time.perf_counter() - begin
    used = cpu() - busy
    print(f"{name:<26}{seconds:>7.0f} s{rows / seconds:>7.0f} rows/s{used:>7.0f} s of CPU time{peak:>7.2f} GB")
    return seconds


def checked(path: Path, model: Path | None) -> Iterator[State]:
    """Validate, as states."""
    watch, report = Watch(), Report()
    for step, done in enumerate(validate(path, report, model=model)):
        if step % 8 == 0:
            yield watch.state(done, None, "")
    yield watch.state(report.rows, None, "")


def main(rows: int, folder: Path, model: Path | None) -> None:
    """Make, build, check, print."""
    for modality, number in PUBLISHED.items():
        path = folder / modality / "rows.parquet"
        if not path.is_file():
            corpora.write(path, made(modality, number * rows // sum(PUBLISHED.values())))
    if not (folder / "benchmark").is_dir():
        both = corpora.iterate(folder / "text_image" / "rows.parquet")
        corpora.write(folder / "benchmark" / "rows.parquet", asked(both, min(2_000, rows // 50)))
    size = sum(path.stat().st_size for path in folder.glob("*/rows.parquet"))
    cores, load = os.cpu_count(), os.getloadavg()[0]
    print(f"{rows:,} rows, {size / 2**30:.2f} GB, {cores} cores, load {load:.1f} before the start")
    (folder / "recipe.yaml").write_text(RECIPE)
    mixture = recipe.load(folder / "recipe.yaml", folder)
    out = folder / f"out-{time.time_ns()}"
    first = timed("build", rows, run.build(mixture, out, source))
    kept = sum(corpora.count(out / f"{split}.parquet") for split in mixture.splits)
    second = timed("validate", kept, checked(out / "train.parquet", model))
    timed("build again, shards kept", rows, run.build(mixture, out, source))
    print(f"build and validate {(first + second) / 60:.1f} min; {kept:,} rows kept\n")
    print((out / "contamination.md").read_text())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=sum(PUBLISHED.values()))
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--model", type=Path, help="Measure tokens with this folder's processor, too.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(arguments.rows, arguments.keep or Path(temporary), arguments.model)
