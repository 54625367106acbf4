"""Limits that settings of every stage are held to: counts, multiples, files that are there."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from gr_vl.data import io
from gr_vl.errors import ConfigError, DataError

PIXELS = ("gr_vl.image_pixels.min", "gr_vl.image_pixels.max")
_OPTIONAL = (
    "trainer.total_training_steps",
    "gr_vl.generation.samples",
    "gr_vl.mine.keep",
    "gr_vl.saved_prompts",
    *PIXELS,
)
"""Counts that may be null: no limit."""


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


def model(path: str, files: bool) -> None:
    """Refuse a folder without a model.

    A path with a separator at its start or an existing run folder is local; `owner/name` is a hub name.
    """
    local = path.startswith(("/", ".", "runs/")) or path.count("/") > 1
    if files and local and not (Path(path) / "config.json").is_file():
        raise DataError(f"{path}: no model there (config.json is missing); run the stage that makes it first")


def slots(config: DictConfig) -> int:
    """Devices that train."""
    positive(config, "trainer.n_gpus_per_node", "trainer.nnodes")
    return int(config.trainer.n_gpus_per_node * config.trainer.nnodes)


def holds(config: DictConfig, key: str, need: str, tokens: int) -> None:
    """A micro-batch of whole sequences must hold the longest one."""
    value = OmegaConf.select(config, key)
    if value < tokens:
        raise ConfigError(f"{key}={value} is less than {need} = {tokens}, one sequence; raise it to {tokens}")
