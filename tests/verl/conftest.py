"""Real stages on CPU, shared by the tests: a tiny corpus, a tiny model, and each training or sampling stage once."""

import os

import pytest
from launching import MINE, RL, SFT, do, kill_when, start

from gr_vl import jobs
from gr_vl.checkpoints import MARK

# Before anything imports verl: it asks for its platform when imported.
os.environ.update(jobs.environment("cpu"))


@pytest.fixture(scope="session")
def run(tmp_path_factory):
    """A run folder with a corpus of 96, 48 and 48 samples and a base model."""
    folder = tmp_path_factory.mktemp("run")
    do("data", folder, "gr_vl.data.train=96", "gr_vl.data.validation=48", "gr_vl.data.test=48")
    do("base", folder)
    return folder


@pytest.fixture
def fresh(run, tmp_path):
    """A run of its own with the corpus and the base model of the others."""
    for name in ("data", "base"):
        (tmp_path / name).symlink_to(run / name)
    return tmp_path


@pytest.fixture(scope="session")
def sft(run):
    """SFT of 4 steps that was killed after its checkpoint of step 2 and then resumed."""
    settings = [*SFT, "trainer.total_training_steps=4", "trainer.save_freq=2"]
    kill_when(start("sft", run, *settings), (run / "sft" / "checkpoints" / "global_step_2" / MARK).is_file)
    assert not (run / "sft" / "stage.json").exists()
    do("sft", run, *settings)
    return run


@pytest.fixture(scope="session")
def mined(sft):
    """Mining of 12 samples, 2 answers each."""
    do("mine", sft, *MINE)
    return sft


@pytest.fixture(scope="session")
def paired(mined):
    """The hard samples with pairs added."""
    do("concat", mined, "gr_vl.concat.share=0.4")
    return mined


@pytest.fixture(scope="session")
def rl(paired):
    """RL of 4 steps on texts and pictures that was killed after its checkpoint of step 2 and then resumed."""
    settings = [*RL, "trainer.total_training_steps=4", "trainer.save_freq=2"]
    kill_when(start("rl", paired, *settings), (paired / "rl" / "checkpoints" / "global_step_2" / MARK).is_file)
    # The mark is written last: what the step logged is there too.
    assert (paired / "rl" / "metrics-0.jsonl").read_text().count("\n") == 2
    assert (paired / "rl" / "rollouts" / "2.jsonl").is_file()
    do("rl", paired, *settings)
    return paired
