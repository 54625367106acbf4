"""What travels with a job: the working folder's code and recipes, measured file by file before anything is sent."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gr_vl.errors import ConfigError

EXCLUDES = (
    *("/data", "/runs", "/outputs", "/wandb", "/mlruns", "/build", "/dist"),
    *("checkpoints", "*.safetensors", "*.pt", "*.pth", "*.bin", "*.ckpt", "*.gguf", "*.parquet", "*.arrow"),
    *(".git", ".venv", "venv", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"),
    *(".env", "*.pem", ".netrc"),
)
"""Patterns of .gitignore's kind: data, checkpoints, repositories, environments and secrets never travel. The files
.gitignore and .rayignore of the folder leave out more."""


@dataclass(frozen=True)
class Upload:
    """The files that a job takes along."""

    root: Path
    files: dict[str, int]
    """Bytes by path below `root`."""

    @property
    def size(self) -> int:
        """Bytes in all, before compression."""
        return sum(self.files.values())

    def lines(self) -> list[str]:
        """One line for the whole and one for each entry of the root, largest first."""
        sizes, counts = Counter[str](), Counter[str]()
        for path, size in self.files.items():
            top = path.split("/", 1)[0]
            sizes[top] += size
            counts[top] += 1
        whole = f"upload {_megabytes(self.size)}, {len(self.files)} files of {self.root}"
        return [whole, *(f"  {_megabytes(size):>9}  {counts[top]:>4}  {top}" for top, size in sizes.most_common())]


def measure(root: Path, limit: float) -> Upload:
    """List what Ray would pack of `root`. Raises ConfigError above `limit` megabytes, as soon as that is clear."""
    # Ray's own walk, so that what is listed is what is sent.
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    files: dict[str, int] = {}

    def note(path: Path) -> None:
        if path.is_file():
            files[str(path.relative_to(root))] = path.stat().st_size

    use_gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"
    _dir_travel(root, [_get_excludes(root, list(EXCLUDES))], note, use_gitignore)
    upload = Upload(root, files)
    if upload.size > limit * 1e6:
        largest = sorted(files, key=lambda path: -files[path])[:3]
        raise ConfigError(
            f"--upload-limit {limit:g}: {root} would send {_megabytes(upload.size)} in {len(files)} files, the largest "
            f"{', '.join(f'{path} ({_megabytes(files[path])})' for path in largest)}; name them in .rayignore"
        )
    return upload


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
