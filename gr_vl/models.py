"""Which model a folder holds, one that reads images or one that reads text alone, and its processor."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from gr_vl.errors import ConfigError, DataError


@dataclass(frozen=True)
class ImagePixels:
    """Bounds of the pixels of an image as a model sees it; None is the model folder's own bound.

    An image outside of them is scaled, its ratio kept, by the image processor.
    """

    min: int | None = None
    max: int | None = None


def processor(folder: str | Path, pixels: ImagePixels = ImagePixels(), **options: Any) -> Any:
    """The processor of a folder, or its tokenizer where the model reads text alone, which has no use for `pixels`.

    `options` are those of `from_pretrained`. Raises ConfigError when the image processor knows no such bounds, or
    one that is given contradicts the folder's own.
    """
    found = AutoProcessor.from_pretrained(folder, **options)
    tower = getattr(found, "image_processor", None)
    if tower is None or pixels == ImagePixels():
        return found
    own = tower.size["shortest_edge"], tower.size["longest_edge"]
    if None in own:
        kind = type(tower).__name__
        raise ConfigError(f"gr_vl.image_pixels: {kind} of {folder} has no bounds in pixels; use null for both")
    least, most = pixels.min or own[0], pixels.max or own[1]
    if least > most:
        raise ConfigError(
            f"gr_vl.image_pixels: min={least:,} exceeds max={most:,} (null is the bound of {folder}); set both"
        )
    tower.size = {"shortest_edge": least, "longest_edge": most}
    return found


def load(folder: str | Path, **options: Any) -> Any:
    """The model of a folder, by what its config says; `options` are those of `from_pretrained`.

    Raises DataError when the folder lacks weights: transformers would draw them at random, with a warning.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=options.get("local_files_only", False))
    sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
    auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model, found = auto.from_pretrained(folder, output_loading_info=True, **options)
    if missing := sorted(found["missing_keys"]):
        raise DataError(f"{folder}: {len(missing)} weights are missing, the first is {missing[0]}; publish it again")
    return model


def image_token(model: Any) -> int | None:
    """The token that stands for a piece of a picture; None where the model reads text alone."""
    return getattr(model.config, "image_token_id", None)
