"""Limits that settings of stages and commands are held to: counts, multiples, files that are there."""

import math
import re
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gr_vl import model_files
from gr_vl.data import io
from gr_vl.errors import ConfigError

PIXELS = ("gr_vl.image_pixels.min", "gr_vl.image_pixels.max")
_OPTIONAL = (
    "trainer.total_training_steps",
    "gr_vl.generation.samples",
    "gr_vl.mine.keep",
    "gr_vl.saved_prompts",
    *PIXELS,
)
"""Counts that may be null: no limit."""


_HUB = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", re.ASCII)
"""How a hub calls a model."""


def above(name: str, value: float, least: float = 0, *, reached: bool = False) -> None:
    """Refuse what is no finite number above `least`, or from there on when it may be `reached`."""
    if not math.isfinite(value) or value < least or (value == least and not reached):
        rule = f"at least {least:g}" if reached else f"above {least:g}"
        raise ConfigError(f"{name} {value}: must be {rule}, and finite")


def count(name: str, value: int) -> None:
    """Refuse what is no whole number of 1 or more."""
    if type(value) is not int or value < 1:
        raise ConfigError(f"{name}={value!r}: must be a whole number, 1 or more")


def finite(values: dict[str, object]) -> None:
    """Refuse settings that are no finite numbers: comparisons with NaN say that it keeps every limit."""
    for key, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(f"{key}={value} must be a finite number; give one")


def positive(config: DictConfig, *keys: str) -> None:
    """Refuse what is no whole number from 1 on; a key whose default is null may have been given any type."""
    for key in keys:
        value = OmegaConf.select(config, key)
        if value is None and key in _OPTIONAL:
            continue
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            said = "null" if value is None else value
            raise ConfigError(f"{key}={said} must be a whole number and at least 1; use 1 or more")


def divides(config: DictConfig, key: str, by: int, why: str) -> None:
    """Refuse a count that is no multiple of `by`."""
    value = OmegaConf.select(config, key)
    if value % by:
        raise ConfigError(f"{key}={value} must be a multiple of {by} ({why}); use {max(value // by, 1) * by}")


def rows(path: str, files: bool) -> int | None:
    """Rows of a corpus, or None without `files`."""
    return io.count(Path(path)) if files else None


def model(config: DictConfig, key: str, files: bool, need: int | None = None, what: str = "") -> None:
    """Refuse a folder without a whole model, or whose model has fewer positions than the tokens of `what`.

    What exists is local, and so is what no hub calls a model or stands in a run; `owner/name` is a hub's otherwise.
    """
    path = OmegaConf.select(config, key)
    if not isinstance(path, str) or not path:
        value = "null" if path is None else repr(path)
        raise ConfigError(f"{key}={value} must name a model; give a folder, or OWNER/NAME of a hub")
    folder = Path(path)
    if not files or not (folder.exists() or path.startswith("runs/") or _HUB.fullmatch(path) is None):
        return
    room = model_files.positions(model_files.check(folder))
    if need is not None and room is not None and need > room:
        raise ConfigError(f"{what} = {need} tokens exceed the {room:,} positions of {key}={path}; lower it to {room}")


def slots(config: DictConfig) -> int:
    """Devices that train."""
    positive(config, "trainer.n_gpus_per_node", "trainer.nnodes")
    return int(config.trainer.n_gpus_per_node * config.trainer.nnodes)


def holds(config: DictConfig, key: str, need: str, tokens: int) -> None:
    """A micro-batch of whole sequences must hold the longest one."""
    value = OmegaConf.select(config, key)
    if value < tokens:
        raise ConfigError(f"{key}={value} is less than {need} = {tokens}, one sequence; raise it to {tokens}")


def steps(config: DictConfig, rows: int | None) -> int | None:
    """The step at which training ends; without the number of rows, the limit that is set. Refuses what is no limit."""
    positive(config, "trainer.total_epochs", "trainer.total_training_steps")
    if config.trainer.resume_mode != "auto":
        raise ConfigError(
            f"trainer.resume_mode={config.trainer.resume_mode!r}: a stage resumes whenever it can; use auto, "
            f"and remove {config.trainer.default_local_dir} to start again"
        )
    if rows is None:
        total = config.trainer.total_training_steps
        return int(total) if total else None
    return last_step(config, rows)


def last_step(config: DictConfig, rows: int) -> int:
    """The step at which training on `rows` samples ends. Raises ConfigError when they make no batch."""
    total = config.trainer.total_training_steps
    batch = config.data.train_batch_size
    available = rows // batch * config.trainer.total_epochs
    if not available:
        raise ConfigError(
            f"data.train_batch_size={batch} exceeds the {rows} rows of {config.data.train_files}; lower it"
        )
    return min(int(total), available) if total else int(available)
