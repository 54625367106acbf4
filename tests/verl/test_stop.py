"""SIGTERM in the middle of training: a checkpoint, exit code 75, and the next run goes on from there."""

import json
import signal
import time

import pytest
from launching import DIRECT, RL, SFT, do, ended, start

from gr_vl import checkpoints
from gr_vl.errors import Preempted

pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]
ENDLESS = ["trainer.total_training_steps=40", "trainer.total_epochs=40", "trainer.save_freq=40"]
SETTINGS = {
    "sft": [*SFT, *ENDLESS],
    "rl": [*RL, *ENDLESS, *DIRECT, "data.max_response_length=16"],
}


@pytest.mark.parametrize("kind", ["sft", "rl"])
def test_a_stage_that_is_asked_to_stop_saves_and_says_so_with_its_exit_code(fresh, kind):
    process, metrics = start(kind, fresh, *SETTINGS[kind]), fresh / kind / "metrics-0.jsonl"
    while not (metrics.is_file() and metrics.read_text().count("\n") >= 2):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said = ended(process, 300)
    assert process.returncode == Preempted.code == 75, said
    assert "has ended as asked; run it again to go on" in " ".join(said.split())
    saved = checkpoints.newest(fresh / kind / "checkpoints")
    steps = [json.loads(line)["step"] for line in metrics.read_text().splitlines()]
    assert saved.step == max(steps) >= 2
    assert not (fresh / kind / "stage.json").exists()
    if kind == "sft":
        do(kind, fresh, *SETTINGS[kind])
        again = [json.loads(line)["step"] for line in (fresh / kind / "metrics-1.jsonl").read_text().splitlines()]
        assert (min(again), max(again)) == (saved.step + 1, 40)
