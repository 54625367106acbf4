"""Publishing a checkpoint: at once, or an error that says what is missing."""

import pytest

from gr_vl.errors import StageError
from gr_vl.stages.export import publish


def write_checkpoint(folder, step, content, inside="actor/huggingface"):
    path = folder / f"global_step_{step}" / inside
    path.mkdir(parents=True)
    (path / "config.json").write_text(content)
    (path / "model.safetensors").write_text(f"weights of {content}")


@pytest.mark.parametrize(
    "inside",
    [pytest.param("actor/huggingface", id="as RL saves it"), pytest.param("huggingface", id="as SFT saves it")],
)
def test_a_checkpoint_becomes_the_model_folder(tmp_path, inside):
    write_checkpoint(tmp_path, 10, "step 10", inside)
    out = tmp_path / "model"
    publish(tmp_path / "global_step_10", out)
    assert {path.name: path.read_text() for path in out.iterdir()} == {
        "config.json": "step 10",
        "model.safetensors": "weights of step 10",
    }


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
