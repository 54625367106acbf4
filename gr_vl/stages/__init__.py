"""The pipeline, one module a stage kind: each reads a composed configuration and writes below the run folder."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

Counts = dict[str, Any]
"""What a stage tells about its work; it ends up in `stage.json` and in the report."""

KINDS = ("data", "base", "subset", "sft", "mine", "pairs", "dpo", "concat", "rl", "eval")


def runner(kind: str) -> Callable[[DictConfig], Counts]:
    """The function that does a stage's work."""
    run: Callable[[DictConfig], Counts] = import_module(f"gr_vl.stages.{'evaluate' if kind == 'eval' else kind}").run
    return run
