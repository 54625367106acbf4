"""gr_vl trains multimodal safety guards that reason before they judge.

The pure core (`schema`, `dialects`, `clipping`, `augment`, `evaluation.metrics`, and the `rewards` package) imports
no torch and no verl. `verl_ext` is the only package that imports verl. `stages` holds the pipeline, one file a stage.
`gr_vl.Guard` is a trained guard in use; torch is imported when it is first named, not before.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gr_vl.guard.model import Guard

__all__ = ["Guard"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name != "Guard":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from gr_vl.guard.model import Guard

    return Guard
