"""The watchdog: what counts as a stall, how it is named, and how a stuck process is ended with its stacks."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from gr_vl import watchdog

LIMITS = {"rollout": 60.0, "reward": 10.0}


def write(folder, process, **phases):
    fields = ("since", "number", "samples")
    content = {name: dict(zip(fields, values, strict=True)) for name, values in phases.items()}
    (folder / f"{process}.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("phases", "words"),
    [
        pytest.param({"rollout": (940, 1, ["a"])}, None, id="just within its limit"),
        pytest.param(
            {"rollout": (939, 3, ["a", "b"])},
            "rollout has lasted 61 s, gr_vl.watchdog.rollout=60, in process host-7 over the samples a, b",
            id="over its limit",
        ),
        pytest.param(
            {"rollout": (930, 1, ["a"]), "reward": (960, 1, ["b"])},
            "reward has lasted 40 s, gr_vl.watchdog.reward=10, in process host-7 over the samples b",
            id="the most overdue one is named",
        ),
        pytest.param({"validate": (0, 1, [])}, None, id="a phase without a limit may last"),
        pytest.param(
            {"reward": (900, 1, [])},
            "reward has lasted 100 s, gr_vl.watchdog.reward=10, in process host-7",
            id="no sample is known",
        ),
    ],
)
def test_what_stalls_is_named(tmp_path, phases, words):
    write(tmp_path, "host-7", **phases)
    write(tmp_path, "host-8")
    (tmp_path / "host-9.json").write_text('{"rollout": {"si')
    assert watchdog.stalled(tmp_path, LIMITS, now=1000) == words


def test_the_samples_are_told_by_those_who_are_waited_for(tmp_path):
    write(tmp_path, "trainer-1", rollout=(900, 1, []))
    write(tmp_path, "worker-2", rollout=(950, 2, ["a", "b"]), reward=(999, 1, ["c"]))
    assert watchdog.stalled(tmp_path, LIMITS, now=1000) == (
        "rollout has lasted 100 s, gr_vl.watchdog.rollout=60, in process trainer-1 over the samples a, b"
    )


def test_a_pulse_tells_the_oldest_start_and_some_of_the_samples(tmp_path):
    pulse = watchdog.Pulse(tmp_path)
    numbers = [pulse.begin("rollout", f"s{index}") for index in range(10)]
    pulse.end(numbers[0])
    pulse.end(pulse.begin("reward", "r"))
    wait_for(lambda: {"rollout"} == set(read(tmp_path)) and read(tmp_path)["rollout"]["number"] == 9)
    rollout = read(tmp_path)["rollout"]
    assert rollout["samples"] == [f"s{index}" for index in range(1, 9)]
    assert time.time() - 10 < rollout["since"] <= time.time()


def read(folder):
    files = list(folder.glob("*.json"))
    return json.loads(files[0].read_text()) if files else {}


def wait_for(reached, patience=10):
    until = time.monotonic() + patience
    while not reached():
        assert time.monotonic() < until
        time.sleep(0.01)


STUCK = """
import subprocess, sys
from pathlib import Path
from gr_vl import watchdog
watchdog.watch(Path(sys.argv[1]), {"reward": 0.2})
subprocess.run([sys.executable, "-c", '''
from gr_vl import watchdog
watchdog.answer_to_signals()
def a_reward_that_never_returns():
    while True:
        pass
with watchdog.phase("reward", "sample-7"):
    a_reward_that_never_returns()
'''])
"""


@pytest.mark.slow
def test_a_stuck_process_ends_the_run_with_its_stack_and_its_sample(tmp_path):
    begin = time.monotonic()
    with (tmp_path / "said").open("w") as said:
        ended = subprocess.run([sys.executable, "-c", STUCK, str(tmp_path / "pulse")], stderr=said, timeout=60)
    os.kill(int(next((tmp_path / "pulse").glob("*.stacks")).stem.rsplit("-", 1)[1]), signal.SIGKILL)
    assert ended.returncode == 1
    lines = (tmp_path / "said").read_text().splitlines()
    assert any("a_reward_that_never_returns" in line for line in lines)
    last = lines[-1]
    assert last.startswith("StalledError: reward has lasted")
    assert last.endswith("over the samples sample-7")
    assert time.monotonic() - begin < 20
