"""A corpus of the published size in its sources' real shapes: built, checked, and built again under kills.

    python bench/data_build.py [--rows N] [--keep FOLDER]

Target for 123,096 rows (63,799 text, 13,267 image, 46,030 text-image) on two cores: at most 20 minutes and 4 GB, for
`data build` and `data validate` together; killed twice at random and run again, the same bytes. Content is neutral,
pictures are JPEGs of 0.2 to 0.8 megapixels; one row in 50 is a copy, one in 50 nearly one, one picture in 100 is cut
off, and half of a benchmark of 2,000 rows lies in the corpus. Making it is not timed. With --keep it stays.
"""

import argparse
import hashlib
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import source_shapes
from PIL import Image
from source_shapes.rows import Placeholder, placeholders

from gr_vl.launch import memory

TOTAL = 123_096
PARTS = {
    "text": {"wildguard_train": 43_400, "beavertails_train": 13_597, "aegis1_train": 5_401, "toxicchat_train": 1_401},
    "image": {"unsafebench": 8_000, "hateful_memes": 2_267, "harm_p": 1_000, "badnews": 1_000, "hod": 1_000},
    "text_image": {"spa_vl_train": 46_030},
}
BENCHMARK, TWIN = "XSTestResponseHarmful", "beavertails_train"
EVERY, CUT = 50, 100
"""One row in so many is a copy and one nearly; one picture in so many is cut off."""
SIZES = ((640, 480), (500, 375), (800, 600), (480, 640), (1024, 768))
GRAIN = np.random.default_rng(0).normal(0, 6, (1024, 1024, 1)).astype(np.int16)


def photograph(number: int) -> bytes:
    """A JPEG of 40 to 200 kB: smooth shapes and some grain."""
    draw = np.random.default_rng(number)
    width, height = SIZES[draw.integers(len(SIZES))]
    coarse = Image.fromarray(draw.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR)).astype(np.int16)
    picture = np.clip(smooth + GRAIN[:height, :width], 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="JPEG", quality=85)
    data = buffer.getvalue()
    return data[: len(data) // 2] if number % CUT == 3 else data


def rows(name: str, first: int, number: int) -> Iterator[Placeholder]:
    """Rows of a source with copies and near copies; pictures of different sources differ."""
    last: Placeholder | None = None
    for row in placeholders(name, number, lambda i: photograph(first + i)):
        if last is not None and row.number % EVERY in (1, 2):
            words = last.prompt if row.number % EVERY == 1 else f"{last.prompt} so"
            same = last.picture(last.number)
            row = replace(row, prompt=words, response=last.response, picture=lambda _, same=same: same)
        yield row
        last = row


def make(folder: Path, total: int) -> None:
    """Every source, a benchmark whose first half is a source's first rows, and the recipe that mixes them."""
    first, recipe = (
        0,
        ["seed: 1", "dialect: guardreasoner_vl", "splits: {train: 0.98, validation: 0.01, test: 0.01}", "parts:"],
    )
    for part, sources in PARTS.items():
        recipe += [f"  {part}:", "    sources:"]
        for name, number in sources.items():
            recipe.append(f"      {name}: {name}")
            if not (folder / name).is_dir():
                source_shapes.SHAPES[name][0](folder / name, rows(name, first, number * total // TOTAL))
            first += number
    asked = min(2_000, total // 50)
    known = list(placeholders(TWIN, asked // 2))
    new = [replace(row, number=row.number + len(known)) for row in placeholders(BENCHMARK, asked // 2)]
    source_shapes.SHAPES[BENCHMARK][0](folder / BENCHMARK, [*known, *new])
    (folder / "recipe.yaml").write_text("\n".join([*recipe, "benchmarks:", f"  {BENCHMARK}: {BENCHMARK}"]))


def data(command: str, *arguments: object) -> subprocess.Popen[bytes]:
    """A `gr-vl data` command, begun."""
    words = [sys.executable, "-m", "gr_vl.cli", "data", command, *map(str, arguments)]
    return subprocess.Popen(words, stdout=subprocess.DEVNULL, start_new_session=True)


def timed(name: str, number: int, process: subprocess.Popen[bytes]) -> float:
    """Wait, print, and return the seconds; memory is that of all its processes, looked at five times a second."""
    begin, family, peak, busy = time.perf_counter(), {psutil.Process(process.pid)}, 0.0, os.times()
    while process.poll() is None:
        peak = max(peak, memory(process.pid, family))
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(f"{name}: exit code {process.returncode}")
    seconds, now = time.perf_counter() - begin, os.times()
    used = now.children_user + now.children_system - busy.children_user - busy.children_system
    print(f"{name:<26}{seconds:>7.0f} s{number / seconds:>7.0f} rows/s{used:>7.0f} s of CPU time{peak:>7.2f} GB")
    return seconds


def killed_twice(recipe: Path, out: Path, folder: Path, seconds: float, draw: random.Random) -> None:
    """A build that gets SIGKILL with all its processes at two random moments."""
    for _ in range(2):
        process, moment = data("build", recipe, out, "--folder", folder), draw.uniform(0.1, 0.7) * seconds
        time.sleep(moment)
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for member in family:
            member.kill()
        process.wait()
        print(f"killed after {moment:.0f} s with {len(family)} processes; {len(list((out / 'work').glob('*')))} shards")


def digests(out: Path) -> dict[str, str]:
    """Of every file of a built corpus but its shards."""
    files = (path for path in out.iterdir() if path.is_file() and not path.name.startswith("."))
    return {path.name: hashlib.file_digest(path.open("rb"), "sha256").hexdigest() for path in files}


def main(total: int, folder: Path, seed: int) -> None:
    """Make, build, check, kill, compare, print."""
    make(folder, total)
    files = (path for sources in PARTS.values() for name in sources for path in (folder / name).rglob("*"))
    size = sum(path.stat().st_size for path in files if path.is_file())
    print(f"{total:,} rows, {size / 2**30:.2f} GB, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the start")
    recipe, whole, killed = (
        folder / "recipe.yaml",
        *(folder / f"{name}-{time.time_ns()}" for name in ("whole", "killed")),
    )
    first = timed("build", total, data("build", recipe, whole, "--folder", folder))
    second = timed("validate", total, data("validate", whole / "train.parquet"))
    print(f"build and validate {(first + second) / 60:.1f} min\n")
    killed_twice(recipe, killed, folder, first, random.Random(seed))
    timed("build, after two kills", total, data("build", recipe, killed, "--folder", folder))
    same = digests(whole) == digests(killed)
    print(f"{len(digests(whole))} files, {'the same bytes' if same else 'NOT the same bytes'}\n")
    print((whole / "contamination.md").read_text())
    if not same:
        raise SystemExit(1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=TOTAL)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--seed", type=int, default=1, help="Of the moments of the kills.")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        main(arguments.rows, arguments.keep or Path(temporary), arguments.seed)
