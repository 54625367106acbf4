"""The processor of a stage: the model folder's own, with the stage's chat template and bounds of image pixels."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from gr_vl import models


def pixels(config: DictConfig) -> models.ImagePixels:
    """The stage's setting."""
    return models.ImagePixels(config.gr_vl.image_pixels.min, config.gr_vl.image_pixels.max)


def prepare(config: DictConfig, model: DictConfig, folder: Path) -> Any:
    """The processor that every process of the stage uses; `model` is verl's block with the model's path.

    Where the stage bounds images, it is saved as `folder`/processor, from which verl's trainer, its agent loops and our
    rollout server load theirs, and with which the trained model is published. vLLM reads the model's folder, and is
    given the bounds as the processor's arguments. Raises ConfigError as `models.processor` does.
    """
    wanted = pixels(config)
    processor = models.processor(model.path, wanted)
    if wanted != models.ImagePixels() and hasattr(processor, "image_processor"):
        processor.save_pretrained(folder / "processor")
        model.tokenizer_path = str(folder / "processor")
        size = processor.image_processor.size
        if "actor_rollout_ref" in config:
            with open_dict(config.actor_rollout_ref.rollout.engine_kwargs):
                config.actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_kwargs = {
                    "min_pixels": size["shortest_edge"],
                    "max_pixels": size["longest_edge"],
                }
    # Base models come without one; the trainer exports it with the weights.
    processor.chat_template = model.custom_chat_template or processor.chat_template
    return processor
