"""Small sources of every kind of row, recipes over them, and a build in a process of its own: `python mixtures.py`."""

import dataclasses
import random
import sys
from pathlib import Path

from factories import HARMFUL, make_png, make_sample
from PIL import Image

from gr_vl.data import images
from gr_vl.data.build import recipe, run
from gr_vl.data.sources.base import Source
from gr_vl.errors import Broken
from gr_vl.schema import Modality, Task
from gr_vl.tasks import SHARED

WORDS = [f"word{number}" for number in range(400)]

BROKEN = [
    {"id": ""},
    {"prompt": ""},
    {"labels": {}},
    {"images": (b"",)},
    {"images": (b"no picture",)},
    {"images": (make_png(1, (90, 70))[:150],)},
    {"prompt": "x" * 1_000_001},
    {"reasoning": "I close it.</think> And go on."},
    {"labels": {Task.RESPONSE: HARMFUL}},
    {"taught": {Task.PROMPT: HARMFUL}},
]
"""Fields that make a row unusable, each for a reason of its own."""


def make_picture(seed):
    """A picture like no other: 8 x 8 random greys, blown up."""
    draw = random.Random(seed)
    tiles = Image.frombytes("L", (8, 8), draw.randbytes(64))
    return images.encode_png(tiles.resize((80, 72), Image.Resampling.NEAREST).convert("RGB"))


def make_rows(name, number, seed=0):
    """Samples of every modality, no two alike."""
    draw = random.Random(f"{name}{seed}")
    rows = []
    for i in range(number):
        kind = i % 3
        prompt = "" if kind == 1 else " ".join(draw.choices(WORDS, k=12))
        response = None if kind == 1 else " ".join(draw.choices(WORDS, k=20))
        pictures = () if kind == 0 else (make_picture(f"{name}{seed}/{i}"),)
        rows.append(make_sample(f"{name}{i}", source=name, prompt=prompt, response=response, images=pictures))
    return rows


def make_broken(name, number):
    """Rows that cannot be used: refused by a converter, or with a fault of ours."""
    for i in range(number):
        if i % (len(BROKEN) + 1) == len(BROKEN):
            yield Broken("label", "maybe", "unknown label", "write harmful or unharmful").at("rows.json", i)
        else:
            yield dataclasses.replace(make_sample(f"{name}-broken{i}"), **BROKEN[i % (len(BROKEN) + 1)])


def make_source(name, rows, *, benchmark=False):
    return Source(name, name, "", "", "", SHARED, tuple(Modality), lambda folder: iter(rows), benchmark=benchmark)


def build(out, sources, text, *, processes=1, folder=None):
    """Build a recipe, given as YAML, over sources in memory or below a folder."""
    known = {source.name: source for source in sources}
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.parent / f"{out.name}.yaml"
    path.write_text(text)
    for _ in run.build(recipe.load(path, folder), out, known.__getitem__, processes=processes):
        pass


def made(out):
    """The bytes of everything that a build made, by file name."""
    return {path.name: path.read_bytes() for path in sorted(out.iterdir()) if path.is_file() and path.name != "lock"}


RECIPE = """
seed: 3
dialect: guardreasoner_vl
splits: {train: 0.9, validation: 0.1}
parts:
  all: {sources: {s: s, t: t}}
benchmarks: {b: b}
"""


def main(out):
    """A build that a test may kill: two sources and a benchmark, in five shards."""
    sources = [make_source("s", make_rows("s", 500)), make_source("t", make_rows("t", 400))]
    build(Path(out), [*sources, make_source("b", make_rows("t", 60), benchmark=True)], RECIPE)


if __name__ == "__main__":
    main(sys.argv[1])
