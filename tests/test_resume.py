"""The frame around training: what is resumed, what must have been reached, and a wish to stop."""

import os
import signal

import pytest
from omegaconf import OmegaConf

from gr_vl import checkpoints, stop
from gr_vl.errors import DataError, StageError
from gr_vl.stages import training


def save(root, step):
    """A whole checkpoint with an exported model."""
    folder = root / f"global_step_{step}"
    (folder / "huggingface").mkdir(parents=True)
    (folder / "huggingface" / "config.json").write_text(f"step {step}")
    checkpoints.mark(folder, step)


def settings(tmp_path, steps, epochs=9):
    trainer = {"default_local_dir": str(tmp_path / "c"), "total_training_steps": steps, "total_epochs": epochs}
    config = {"trainer": trainer, "data": {"train_batch_size": 8, "train_files": "train"}}
    return OmegaConf.create(config | {"gr_vl": {"out": str(tmp_path / "model")}})


def reaching(tmp_path, step, seen):
    """A trainer that ends without an error after `step`."""

    def fit(config):
        seen.append(config.trainer.total_training_steps)
        save(tmp_path / "c", step)

    return fit


@pytest.mark.parametrize(
    ("steps", "epochs", "last"),
    [
        pytest.param(None, 2, 4, id="two epochs of two steps"),
        pytest.param(3, 9, 3, id="steps that end within an epoch"),
        pytest.param(7, 2, 4, id="more steps than the epochs hold"),
    ],
)
def test_training_ends_at_its_last_step_and_publishes_it(tmp_path, steps, epochs, last):
    seen = []
    training.train(settings(tmp_path, steps, epochs), 17, reaching(tmp_path, last, seen))
    assert seen == [last]
    assert (tmp_path / "model" / "config.json").read_text() == f"step {last}"


def test_a_resume_that_trains_nothing_is_a_failure(tmp_path):
    save(tmp_path / "c", 2)
    with pytest.raises(StageError, match=r"newest whole checkpoint is of step 2, not of the last, 4"):
        training.train(settings(tmp_path, 4), 16, lambda _: None)
    assert not (tmp_path / "model").exists()


def test_a_run_that_ended_before_is_only_published(tmp_path):
    for step in (2, 4):
        save(tmp_path / "c", step)
    training.train(settings(tmp_path, 4), 16, reaching(tmp_path, 6, seen := []))
    assert seen == []
    assert (tmp_path / "model" / "config.json").read_text() == "step 4"


def test_nothing_is_trained_over_a_checkpoint_that_was_lost(tmp_path):
    save(tmp_path / "c", 2)
    (tmp_path / "c" / "global_step_2" / "huggingface" / "config.json").unlink()
    with pytest.raises(DataError, match=r"global_step_2: huggingface/config\.json is missing"):
        training.train(settings(tmp_path, 4), 16, reaching(tmp_path, 4, seen := []))
    assert seen == []


def test_sigterm_is_a_wish_and_an_old_one_is_forgotten(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    try:
        (tmp_path / stop.NAME).touch()
        stop.listen(tmp_path)
        assert not stop.requested(tmp_path)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested(tmp_path)
    finally:
        signal.signal(signal.SIGTERM, before)
