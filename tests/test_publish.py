"""Checkpoints become model folders under the model's own names, with adapters merged into the weights."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from gr_vl import models
from gr_vl.errors import DataError, StageError
from gr_vl.stages import export

STEM = "base_model.model.model.layers.0.mlp.up_proj"
ADAPTED = {
    f"{STEM}.base_layer.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    f"{STEM}.lora_A.default.weight": torch.tensor([[1.0, 2.0]]),
    f"{STEM}.lora_B.default.weight": torch.tensor([[3.0], [4.0]]),
    f"{STEM}.base_layer.bias": torch.tensor([5.0, 6.0]),
    "base_model.model.model.norm.weight": torch.tensor([7.0]),
}


def checkpoint(folder, weights, meta=None):
    exported = folder / "actor" / "huggingface"
    exported.mkdir(parents=True)
    (exported / "config.json").write_text("{}")
    save_file(weights, exported / "model.safetensors")
    if meta:
        (folder / "actor" / "lora_train_meta.json").write_text(json.dumps(meta))
    return folder


def test_adapters_are_merged_and_the_names_are_the_models_own(tmp_path):
    export.publish(checkpoint(tmp_path / "step", ADAPTED, {"r": 1, "lora_alpha": 2}), tmp_path / "model")
    found = load_file(tmp_path / "model" / "model.safetensors")
    # B A = [[3, 6], [4, 8]], twice of it added to the identity.
    expected = {
        "model.layers.0.mlp.up_proj.weight": [[7.0, 12.0], [8.0, 17.0]],
        "model.layers.0.mlp.up_proj.bias": [5.0, 6.0],
        "model.norm.weight": [7.0],
    }
    assert {name: tensor.tolist() for name, tensor in found.items()} == expected


def test_the_sum_keeps_the_weights_own_precision():
    half = {name: tensor.bfloat16() for name, tensor in ADAPTED.items()}
    found = export.merged(half, 2.0)["model.layers.0.mlp.up_proj.weight"]
    assert found.dtype is torch.bfloat16
    assert found.tolist() == [[7.0, 12.0], [8.0, 17.0]]


def test_a_model_without_adapters_is_copied_as_it_is(tmp_path):
    export.publish(checkpoint(tmp_path / "step", {"model.norm.weight": torch.ones(2)}), tmp_path / "model")
    copied, original = (tmp_path / folder / "model.safetensors" for folder in ("model", "step/actor/huggingface"))
    assert copied.read_bytes() == original.read_bytes()


def test_a_model_folder_that_lacks_a_weight_is_refused(tiny, tmp_path):
    folder = shutil.copytree(tiny, tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = min(name for name in weights if "mlp" in name)
    save_file({other: tensor for other, tensor in weights.items() if other != name}, folder / "model.safetensors")
    with pytest.raises(DataError, match="1 weights are missing, the first is "):
        models.load(folder)
    assert models.load(tiny).num_parameters() > 0


def test_adapters_without_their_scale_are_refused(tmp_path):
    with pytest.raises(StageError, match=r"holds adapters, but no lora_train_meta\.json"):
        export.publish(checkpoint(tmp_path / "step", ADAPTED), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_checkpoint_without_an_exported_model_is_refused(tmp_path):
    (tmp_path / "step").mkdir()
    with pytest.raises(StageError, match="keep hf_model"):
        export.publish(tmp_path / "step", tmp_path / "model")
