"""The encoder of a stage: the model folder's own, with the stage's chat template and bounds of image pixels."""

from pathlib import Path

from omegaconf import DictConfig, open_dict

from gr_vl.encoding import Encoder
from gr_vl.image_pixels import ImagePixels


def pixels(config: DictConfig) -> ImagePixels:
    """The stage's setting."""
    return ImagePixels(config.gr_vl.image_pixels.min, config.gr_vl.image_pixels.max)


def prepare(config: DictConfig, model: DictConfig, folder: Path) -> Encoder:
    """The encoder whose processor every process of the stage uses; `model` is verl's block with the model's path.

    Where the stage bounds images, the processor is saved as `folder`/processor, from which verl's trainer, its agent
    loops and our rollout server load theirs, and with which the trained model is published. vLLM reads the model's
    folder, and is given the bounds as the processor's arguments. Raises as `Encoder.load` does.
    """
    wanted = pixels(config)
    # Base models may come without a template; the trainer exports it with the weights.
    encoder = Encoder.load(model.path, config.gr_vl.dialect, template=model.custom_chat_template, pixels=wanted)
    if wanted != ImagePixels() and encoder.sees:
        from transformers import AutoConfig

        encoder.processor.save_pretrained(folder / "processor")
        # verl makes no processor of a folder without it.
        AutoConfig.from_pretrained(model.path).save_pretrained(folder / "processor")
        model.tokenizer_path = str(folder / "processor")
        size = encoder.processor.image_processor.size
        if "actor_rollout_ref" in config:
            with open_dict(config.actor_rollout_ref.rollout.engine_kwargs):
                config.actor_rollout_ref.rollout.engine_kwargs.vllm.mm_processor_kwargs = {
                    "min_pixels": size["shortest_edge"],
                    "max_pixels": size["longest_edge"],
                }
    return encoder
