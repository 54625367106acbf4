"""From a checkpoint of verl's to an ordinary model folder that every later stage, and any other program, can load."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from gr_vl.errors import StageError

if TYPE_CHECKING:
    import torch

_WRAPPED, _BASE, _DOWN, _UP = "base_model.model.", ".base_layer.", ".lora_A.default.weight", ".lora_B.default.weight"
"""How PEFT names a model's weights, a weight that has an adapter, and the adapter's two parts."""


def publish(checkpoint: Path, out: Path) -> None:
    """Copy the Hugging Face folder of a checkpoint to `out`, at once or not at all; adapters are merged into it.

    Raises StageError when the checkpoint holds no such folder, or adapters without their scale.
    """
    exported = [path.parent for path in checkpoint.rglob("huggingface/config.json")]
    if not exported:
        raise StageError(f"{checkpoint}: holds no exported model; keep hf_model in checkpoint.save_contents")
    part = out.with_name(f"{out.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    shutil.copytree(exported[0], part)
    _merge_adapters(part, exported[0].parent)
    shutil.rmtree(out, ignore_errors=True)
    part.rename(out)


def _merge_adapters(folder: Path, checkpoint: Path) -> None:
    """verl saves a model with adapters under PEFT's names, from which others would load random weights, silently."""
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import load_file

    files = sorted(folder.glob("*.safetensors"))
    weights = {name: tensor for file in files for name, tensor in load_file(file).items()}
    if not any(name.startswith(_WRAPPED) for name in weights):
        return
    described = checkpoint / "lora_train_meta.json"
    if not described.is_file():
        raise StageError(f"{checkpoint}: holds adapters, but no {described.name} that says how to scale them")
    facts = json.loads(described.read_text())
    for file in [*files, *folder.glob("*.safetensors.index.json")]:
        file.unlink()
    save_torch_state_dict(merged(weights, facts["lora_alpha"] / facts["r"]), folder)


def merged(weights: Mapping[str, "torch.Tensor"], scale: float) -> dict[str, "torch.Tensor"]:
    """Weights under the model's own names: W + scale x B A where there is an adapter, added in float32."""
    found = {}
    for name, weight in weights.items():
        if _DOWN in name or _UP in name:
            continue
        adapted = name.replace(_BASE, ".")
        if _BASE in name and name.endswith(".weight"):
            stem = adapted.removesuffix(".weight")
            delta = weights[stem + _UP].float() @ weights[stem + _DOWN].float()
            weight = (weight.float() + scale * delta).to(weight.dtype)
        found[adapted.removeprefix(_WRAPPED)] = weight
    return found
