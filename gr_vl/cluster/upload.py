"""What travels with a job: the working folder's code and recipes, measured file by file before anything is sent."""

import logging
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gr_vl.errors import ConfigError

EXCLUDES = (
    *("/data", "/runs", "/outputs", "/wandb", "/mlruns", "/build", "/dist"),
    *("checkpoints", "*.safetensors", "*.pt", "*.pth", "*.bin", "*.ckpt", "*.gguf", "*.parquet", "*.arrow"),
    *(".git", ".venv", "venv", "__pycache__", "*.egg-info", ".*_cache", ".hypothesis"),
    # Secrets; docs/cluster.md lists them.
    *(".env*", "*.env", "id_*", "!id_*.py", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "*.jks", "*.keystore"),
    *("token", "token.txt", "*_token", "*_token.txt", "*.token", "*.kdbx", "kubeconfig", "*service_account*.json"),
    *("credentials*", ".*credentials*", "secrets*", ".secrets*", ".netrc", "_netrc", ".pypirc", ".npmrc", ".pgpass"),
    *(".htpasswd", ".ssh", ".aws", ".azure", ".gcloud", ".kube", ".docker", ".gnupg", ".huggingface"),
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
    """List what Ray would pack of `root`. Raises ConfigError above `limit` megabytes, and for what Ray cannot pack."""
    # Ray's own walk, so that what is listed is what is sent.
    from ray._private.runtime_env.packaging import _dir_travel, _get_excludes

    files: dict[str, int] = {}

    def note(path: Path) -> None:
        if problem := _problem(path):
            raise ConfigError(f"{str(path)!a}: {problem}, which cannot travel; remove it, or name it in .rayignore")
        if path.is_file():
            files[str(path.relative_to(root))] = path.stat().st_size

    use_gitignore = os.environ.get("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "0") != "1"
    quiet = logging.Logger("quiet", logging.CRITICAL + 1)
    try:
        _dir_travel(root, [_get_excludes(root, list(EXCLUDES))], note, use_gitignore, quiet)
    except ConfigError:
        raise
    except Exception as error:  # whatever Ray's walk and the patterns of ignore files end in
        place = _broken_ignore(root) or root
        why = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ConfigError(f"{place}: Ray cannot read it ({why}); mend it, or submit from another folder") from None
    upload = Upload(root, files)
    if upload.size > limit * 1e6:
        largest = sorted(files, key=lambda path: -files[path])[:3]
        raise ConfigError(
            f"--upload-limit {limit:g}: {root} would send {_megabytes(upload.size)} in {len(files)} files, the largest "
            f"{', '.join(f'{path} ({_megabytes(files[path])})' for path in largest)}; name them in .rayignore"
        )
    return upload


def _problem(path: Path) -> str | None:
    """Why Ray would wait for ever, fail or pack without end at a path; None for what it packs or passes over."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return "has a name that is no UTF-8"
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # a link to nothing, which Ray passes over
    if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
        return "is a named pipe or a device"
    if path.is_symlink() and path.is_dir() and path.parent.resolve().is_relative_to(path.resolve()):
        return "is a link to a folder around it"
    return None if stat.S_ISSOCK(mode) or os.access(path, os.R_OK) else "is not readable"


def _broken_ignore(root: Path) -> Path | None:
    """The first ignore file below `root` that Ray cannot read."""
    from ray._private.runtime_env.packaging import _get_ignore_file

    for path in (path for name in (".gitignore", ".rayignore") for path in root.rglob(name)):
        try:
            _get_ignore_file(path.parent, path.name)
        except Exception:
            return path
    return None


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.2f} MB"
