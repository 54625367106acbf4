"""Where a job comes from: the code's revision and a digest of the data that it will read."""

import hashlib
import subprocess
from pathlib import Path


def revision(root: Path) -> str:
    """The git commit of a folder, with `+` when files differ from it; `none` outside of a repository."""
    said = _git(root, "rev-parse", "HEAD")
    return (said + ("+" if _git(root, "status", "--porcelain") else "")) if said else "none"


def data_digest(run: Path) -> str:
    """A digest of the parquet files of a run's stages: names, sizes and footers; `none` where there are none.

    A footer holds the row counts, offsets and checksummed statistics of its file and is read in no time, which the
    images of a whole corpus are not.
    """
    digest, paths = hashlib.sha256(), sorted(run.glob("*/*.parquet"))
    for path in paths:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - 8, 0))
            length = int.from_bytes(file.read(4), "little")
            file.seek(max(size - 8 - length, 0))
            digest.update(f"{path.relative_to(run)} {size}\n".encode())
            digest.update(file.read(length))
    return digest.hexdigest()[:16] if paths else "none"


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
