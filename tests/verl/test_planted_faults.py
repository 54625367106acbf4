"""Real runs with a fault in them: each ends by itself with exit code 1 and names what is wrong."""

import json
import signal
import time

import psutil
import pytest
from launching import DIRECT, RL, SFT, ended, start

from gr_vl import checkpoints

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]
SHORT = ["trainer.total_training_steps=4", "trainer.save_freq=1", "data.max_response_length=16"]
HANGS = """
import time
from dataclasses import dataclass

@dataclass(frozen=True)
class Hangs:
    def __call__(self, answer):
        time.sleep(10_000)
"""


def said_by(process, patience=600):
    """What a stage that has to fail said."""
    said = ended(process, patience)
    assert process.returncode == 1, said
    return " ".join(said.split())


def test_a_reward_that_hangs_is_named_with_its_sample(fresh):
    (fresh / "hangs.py").write_text(HANGS)
    hangs = f"+gr_vl.reward.terms.hangs.file={fresh / 'hangs.py'}"
    said = said_by(start("rl", fresh, *RL, *SHORT, *DIRECT, hangs, "gr_vl.watchdog.reward=3"))
    assert "StalledError: reward has lasted" in said
    assert "over the samples " in said
    assert "hangs.py" in (fresh / "rl" / "stage.log").read_text(errors="replace")


def test_a_rollout_server_that_stops_answering_is_named(fresh):
    process = start("rl", fresh, *RL, *SHORT, *DIRECT, "gr_vl.watchdog.rollout=15")
    mark = fresh / "rl" / "checkpoints" / "global_step_1" / checkpoints.MARK
    while not mark.exists():
        assert process.poll() is None
        time.sleep(0.02)
    family = psutil.Process(process.pid).children(recursive=True)
    servers = [member for member in family if "TransformersServer" in " ".join(member.cmdline())]
    for server in servers:
        server.send_signal(signal.SIGSTOP)
    assert servers
    assert "StalledError: rollout has lasted" in said_by(process)


def test_gradients_that_stay_infinite_end_the_run_with_the_batch_on_disk(fresh):
    settings = [*SFT, "optim.lr=1e30", "optim.lr_warmup_steps_ratio=0.0", "gr_vl.nonfinite_limit=3"]
    said = said_by(start("sft", fresh, *settings, "trainer.total_training_steps=8", "trainer.save_freq=1"))
    assert "the gradients of 3 updates in a row were not finite" in said
    dumped = list((fresh / "sft" / "nonfinite").glob("step_*.jsonl"))
    assert len(dumped) == 1
    rows = [json.loads(line) for line in dumped[0].read_text().splitlines()]
    assert len(rows) == 8
    assert all(row["input_ids"] for row in rows)
