"""Publishing a checkpoint: at once, under the model's own names, or an error that says what is missing."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from gr_vl import models
from gr_vl.errors import DataError, StageError
from gr_vl.stages.export import merged, publish

STEM = "base_model.model.model.layers.0.mlp.up_proj"
ADAPTED = {
    f"{STEM}.base_layer.weight": torch.tensor([[1.0, 0.0], [0.0, 1.0]]),
    f"{STEM}.lora_A.default.weight": torch.tensor([[1.0, 2.0]]),
    f"{STEM}.lora_B.default.weight": torch.tensor([[3.0], [4.0]]),
    f"{STEM}.base_layer.bias": torch.tensor([5.0, 6.0]),
    "base_model.model.model.norm.weight": torch.tensor([7.0]),
}


def write_checkpoint(folder, step, content, inside="actor/huggingface"):
    path = folder / f"global_step_{step}" / inside
    path.mkdir(parents=True)
    (path / "config.json").write_text(content)
    save_file({"norm.weight": torch.tensor([float(step)])}, path / "model.safetensors")


@pytest.mark.parametrize(
    "inside",
    [pytest.param("actor/huggingface", id="as RL saves it"), pytest.param("huggingface", id="as SFT saves it")],
)
def test_a_checkpoint_becomes_the_model_folder(tmp_path, inside):
    write_checkpoint(tmp_path, 10, "step 10", inside)
    out = tmp_path / "model"
    publish(tmp_path / "global_step_10", out)
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "model.safetensors"]
    assert (out / "config.json").read_text() == "step 10"
    made = tmp_path / "global_step_10" / inside / "model.safetensors"
    assert (out / "model.safetensors").read_bytes() == made.read_bytes()


def test_an_older_model_and_the_rest_of_a_broken_copy_are_replaced(tmp_path):
    write_checkpoint(tmp_path, 1, "new")
    for name in ("model", "model.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "stale.bin").write_text("old")
    publish(tmp_path / "global_step_1", tmp_path / "model")
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == ["config.json", "model.safetensors"]
    assert not (tmp_path / "model.part").exists()


def test_a_checkpoint_without_an_exported_model_names_the_setting_and_keeps_what_was_there(tmp_path):
    (tmp_path / "global_step_3").mkdir()
    (tmp_path / "model").mkdir()
    with pytest.raises(StageError, match=r"global_step_3: .*hf_model in checkpoint\.save_contents"):
        publish(tmp_path / "global_step_3", tmp_path / "model")
    assert (tmp_path / "model").is_dir()


def checkpoint(folder, weights, meta=None):
    exported = folder / "actor" / "huggingface"
    exported.mkdir(parents=True)
    (exported / "config.json").write_text("{}")
    save_file(weights, exported / "model.safetensors")
    if meta:
        (folder / "actor" / "lora_train_meta.json").write_text(json.dumps(meta))
    return folder


def test_adapters_are_merged_and_the_names_are_the_models_own(tmp_path):
    publish(checkpoint(tmp_path / "step", ADAPTED, {"r": 1, "lora_alpha": 2}), tmp_path / "model")
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
    found = merged(half, 2.0)["model.layers.0.mlp.up_proj.weight"]
    assert found.dtype is torch.bfloat16
    assert found.tolist() == [[7.0, 12.0], [8.0, 17.0]]


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
        publish(checkpoint(tmp_path / "step", ADAPTED), tmp_path / "model")
    assert not (tmp_path / "model").exists()
