"""Which model a folder holds: one that reads pictures, or one that reads text alone."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from gr_vl.errors import DataError


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
