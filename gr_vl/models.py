"""Which model a folder holds, one that reads images or one that reads text alone."""

from pathlib import Path
from typing import Any

from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

from gr_vl.encoding import Encoder
from gr_vl.errors import DataError
from gr_vl.model_files import loading


def load(folder: str | Path, **options: Any) -> Any:
    """The model of a folder, by what its config says; `options` are those of `from_pretrained`.

    Raises DataError when its files cannot be used, or lack weights: transformers would draw them at random, with a
    warning.
    """
    with loading(folder):
        config = AutoConfig.from_pretrained(folder, local_files_only=options.get("local_files_only", False))
        sees = type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING
        auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        model, found = auto.from_pretrained(folder, output_loading_info=True, **options)
    if missing := sorted(found["missing_keys"]):
        raise DataError(f"{folder}: {len(missing)} weights are missing, the first is {missing[0]}; publish it again")
    return model


def load_guard(folder: Path, encoder: Encoder, dtype: str) -> Any:
    """The model of a local folder, to compute with `encoder`. Raises DataError when it has no place for all tokens."""
    options = {"attn_implementation": "sdpa", "use_safetensors": True, "local_files_only": True}
    model = load(folder, dtype=dtype, **options).eval()
    last, rows = max(encoder.tokenizer.get_vocab().values()), model.get_input_embeddings().num_embeddings
    if last >= rows:
        raise DataError(f"{folder}: token {last} of its tokenizer is beyond the model's {rows}; fetch both together")
    return model


def image_token(model: Any) -> int | None:
    """The token that stands for a piece of a picture; None where the model reads text alone."""
    return getattr(model.config, "image_token_id", None)
