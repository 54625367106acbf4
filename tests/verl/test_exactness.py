"""Patches of verl that a resume depends on: what is read from a checkpoint, and what a worker starts from."""

import inspect
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.verl


@pytest.fixture(autouse=True)
def plugin():
    """verl loads our plugin by the variables that `conftest.py` sets."""
    pytest.importorskip("verl")


class Touches:
    """What a hostile checkpoint can do when it is read with pickle."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return type(self.path).touch, (self.path,)


def test_no_pickle_is_still_needed(tmp_path):
    import pickle

    import torch
    from verl.trainer.ppo.v1 import trainer_base
    from verl.utils.checkpoint import fsdp_checkpoint_manager

    for module in (trainer_base, fsdp_checkpoint_manager):
        assert "weights_only=False" in inspect.getsource(module)
        torch.save({"step": 1, "rng": Touches(tmp_path / module.__name__)}, tmp_path / "hostile.pt")
        with pytest.raises(pickle.UnpicklingError):
            module.torch.load(tmp_path / "hostile.pt", weights_only=False)
        assert not (tmp_path / module.__name__).exists()


def test_a_checkpoints_random_states_are_read_without_pickle(tmp_path):
    import random

    import numpy as np
    import torch
    from verl.utils.checkpoint import fsdp_checkpoint_manager as manager

    states = manager.BaseCheckpointManager.get_rng_state()
    torch.save(states, tmp_path / "extra.pt")
    drawn = random.random(), np.random.random(), torch.rand(1).item()
    manager.BaseCheckpointManager.load_rng_state(manager.torch.load(tmp_path / "extra.pt"))
    assert (random.random(), np.random.random(), torch.rand(1).item()) == drawn


def test_seeded_workers_is_still_needed(monkeypatch):
    import torch
    from verl.workers.engine_workers import TrainingWorker

    from gr_vl.verl_ext import patches

    drawn = []
    worker = SimpleNamespace(engine=SimpleNamespace(initialize=lambda: drawn.append(torch.rand(1).item())))
    monkeypatch.setenv(patches.SEED, "7")
    for reset in (TrainingWorker.reset, TrainingWorker.reset, TrainingWorker.reset.gr_vl_original):
        reset(worker)
    assert drawn[0] == drawn[1] != drawn[2]
    # How verl finds the methods of a worker group.
    assert vars(TrainingWorker.reset).keys() >= vars(TrainingWorker.reset.gr_vl_original).keys()
