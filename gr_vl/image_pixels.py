"""Bounds of the pixels of an image as a model sees it."""

from dataclasses import dataclass
from typing import Any

from gr_vl.errors import ConfigError


@dataclass(frozen=True)
class ImagePixels:
    """The least and most pixels of an image; None is the model folder's own bound.

    The image processor scales an image into them, keeps its ratio, and rounds its sides to whole tokens.
    """

    min: int | None = None
    max: int | None = None

    def apply(self, processor: Any, folder: str) -> None:
        """Set the bounds of a processor. A tokenizer, of a model that reads text alone, has no use for them.

        Raises ConfigError when its image processor knows no such bounds, or one that is given contradicts the folder's.
        """
        tower = getattr(processor, "image_processor", None)
        if tower is None or self == ImagePixels():
            return
        own = tower.size["shortest_edge"], tower.size["longest_edge"]
        if None in own:
            kind = type(tower).__name__
            raise ConfigError(f"gr_vl.image_pixels: {kind} of {folder} has no bounds in pixels; use null for both")
        least, most = self.min or own[0], self.max or own[1]
        if least > most:
            raise ConfigError(
                f"gr_vl.image_pixels: min={least:,} exceeds max={most:,} (null is the bound of {folder}); set both"
            )
        tower.size = {"shortest_edge": least, "longest_edge": most}
