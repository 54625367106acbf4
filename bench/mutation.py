"""Change one thing in the code, see whether a test fails: `python bench/mutation.py --mutants 100 --seed 1 --jobs 2`.

Mutants are drawn evenly from all that `bench/mutants.py` makes of the modules. The fast tier runs once with coverage,
which says what tests run each statement. Each mutant is written into a copy of the tree, where the tests of its
statement run. What passes them is a survivor: a test is missing, or the change means nothing, or only tests that start
processes of their own see it, which coverage does not follow. A run that breaks off goes on where its results end.

Tried first: cosmic-ray 8.7 has one test command for all modules and drops no statement or argument; mutmut 3.8 draws no
sample and did not get past its first stage on this tree.
"""

import argparse
import ast
import json
import os
import queue
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from coverage import CoverageData
from mutants import Mutant, mutants
from rich.console import Console
from rich.progress import track
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]
MODULES = ("rewards", "gr_vl/clipping.py", "gr_vl/dialects", "gr_vl/augment", "gr_vl/evaluation/metrics")
MODULES += ("gr_vl/preference_loss.py", "gr_vl/generation.py", "gr_vl/encoding.py", "gr_vl/checkpoints.py")
TEST, ALL = 60, 1800
"""A mutant may take so many seconds in a test, and in all its tests; then it is a timeout."""


def statement(source: str, line: int) -> range:
    """The lines of the smallest statement that holds a line: coverage knows statements, not their parts."""
    spans = [
        range(node.lineno, node.end_lineno + 1)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.stmt) and node.lineno <= line <= node.end_lineno
    ]
    return min(spans, key=len)


class Coverage:
    """Which tests run a statement, from one run of the fast tier in an unchanged copy of the tree.

    Tests that fail there, such as one that a busy machine is too slow for, judge no mutant.
    """

    def __init__(self, copy: Path, jobs: int) -> None:
        sources = [f"--cov={name}" for name in ("gr_vl", "rewards")]
        _, broken = run(copy, ("-n", str(jobs), *sources, "--cov-context=test", "--cov-report="), None)
        self.without = tuple(f"--deselect={name}" for name in broken)
        for name in broken:
            print(f"{name}: fails without any mutant, and judges none")
        self._copy, self._data = copy, CoverageData(str(copy / ".coverage"))
        self._data.read()

    def tests(self, mutant: Mutant) -> tuple[str, ...]:
        """Test functions that run the mutant's statement, or, of one that an import runs, its file."""
        path = self._copy / mutant.module
        contexts = self._data.contexts_by_lineno(str(path.resolve()))
        lines = statement(path.read_text(), mutant.line)
        here = {name for line in lines for name in contexts.get(line, ()) if name}
        names = here or {name for some in contexts.values() for name in some if name}
        place = Path(mutant.module)
        words = [word.rstrip("s") for word in (place.stem, place.parent.name)]
        # Those that bear the module's name, or its package's, first: they are the likeliest to fail.
        found = {re.split(r"\[|\|", name)[0] for name in names}
        return tuple(sorted(found, key=lambda name: (*(word not in name for word in words), name)))


def tree(folder: Path) -> Path:
    """A copy of the tree as it stands, without what git ignores."""
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    return folder


def run(copy: Path, arguments: tuple[str, ...], limit: float | None) -> tuple[str, list[str]]:
    """Run tests, or the whole fast tier, in a copy of the tree: passed, failed or timeout, and what failed."""
    # CI: hypothesis draws the same cases every time and measures no time.
    env = os.environ | {"PYTHONPATH": str(copy), "CI": "1", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    options = ("-q", "--tb=no", "-p", "no:cacheprovider", f"--timeout={TEST}")
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    process = subprocess.Popen(command, cwd=copy, env=env, start_new_session=True, **pipes)
    try:
        output, _ = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return "timeout", []
    if process.returncode in (0, 5):
        return "passed", []
    failed = re.findall(r"^(?:FAILED|ERROR|ImportError while loading) (.*?)(?: - .*)?$", output, re.MULTILINE)
    if not failed:
        raise RuntimeError(f"pytest ended with {process.returncode}:\n{output[-2000:]}")
    return "failed", failed


def judged(mutant: Mutant, serial: int, copy: Path, coverage: Coverage) -> dict[str, Any]:
    """What became of a mutant: killed, survived or timeout, by which test, in how many seconds."""
    path, began, verdict, by = copy / mutant.module, time.monotonic(), "passed", list[str]()
    original = path.read_bytes()
    try:
        path.write_text(mutant.source)
        # Bytecode is recognised by the size and the second of its source: each mutant gets a second of its own.
        os.utime(path, (serial, serial))
        verdict, by = run(copy, ("-x", *coverage.without, *coverage.tests(mutant)), ALL)
    finally:
        path.write_bytes(original)
    status = {"passed": "survived", "failed": "killed"}.get(verdict, verdict)
    facts = {"key": mutant.key, "status": status, "by": "".join(by[:1]), "seconds": round(time.monotonic() - began, 1)}
    return facts | {"module": mutant.module, "line": mutant.line, "diff": mutant.diff}


def judge(drawn: list[Mutant], jobs: int, out: Path) -> list[dict[str, Any]]:
    """Results of all mutants, those of an earlier run taken from `out`, the others appended to it."""
    out.touch()
    known = {row["key"]: row for row in map(json.loads, out.read_text().splitlines())}
    missing = [mutant for mutant in drawn if mutant.key not in known]
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(jobs) as pool, out.open("a") as file:
        copies: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for number in range(jobs):
            copies.put(tree(Path(folder, str(number))))
        coverage = Coverage(tree(Path(folder, "unchanged")), jobs) if missing else None

        def work(serial: int, mutant: Mutant) -> dict[str, Any]:
            copy = copies.get()
            try:
                return judged(mutant, serial, copy, coverage)
            finally:
                copies.put(copy)

        futures = [pool.submit(work, serial, mutant) for serial, mutant in enumerate(missing, 1)]
        try:
            for future in track(as_completed(futures), "mutants", len(futures)):
                row = future.result()
                known[row["key"]] = row
                file.write(json.dumps(row) + "\n")
                file.flush()
        finally:
            pool.shutdown(cancel_futures=True)
    return [known[mutant.key] for mutant in drawn]


def show(rows: list[dict[str, Any]]) -> None:
    """Print a line a module, and every survivor."""
    console, statuses = Console(soft_wrap=True, highlight=False), ("killed", "survived", "timeout")
    table = Table("module", *statuses)
    for module in [*sorted({row["module"] for row in rows}), "all"]:
        counts = Counter(row["status"] for row in rows if module in (row["module"], "all"))
        table.add_row(module, *(str(counts[status]) for status in statuses))
    console.print(table)
    for row in rows:
        if row["status"] == "survived":
            console.print(f"\n{row['module']}:{row['line']}\n{row['diff']}", markup=False)


def main() -> None:
    """Draw, judge and show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("--mutants", 100), ("--seed", 1), ("--jobs", 2)):
        parser.add_argument(name, type=int, default=value)
    parser.add_argument("--module", action="append", help="a file or folder; may be given again")
    parser.add_argument("--out", type=Path, default=ROOT / "runs" / "mutation.jsonl", help="where results are kept")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    paths = [ROOT / name for name in given.module or MODULES]
    files = sorted({file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])})
    found = [mutant for file in files for mutant in mutants(ROOT, file)]
    drawn = random.Random(given.seed).sample(found, min(given.mutants, len(found)))
    print(f"{len(drawn)} of {len(found)} mutants of {len(files)} modules; results in {given.out}")
    show(judge(drawn, given.jobs, given.out))


if __name__ == "__main__":
    main()
