"""Stages as jobs on a real Ray cluster of two raylets with token authentication: logs, exit codes, waits, stops."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import psutil
import pytest
from launching import DIRECT, RL, ended, last_words

from gr_vl.data import io

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.verl, pytest.mark.timeout(900)]
TINY = ("guardreasoner_vl", "model=tiny", "gr_vl.data.train=12", "gr_vl.data.validation=6", "gr_vl.data.test=6")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster():
    """What a client's environment needs to reach a cluster of its own."""
    folder = tempfile.mkdtemp(prefix="grvl")  # short, since sockets lie below it
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    ports = (f"--port={free_port()}", f"--dashboard-port={free_port()}")
    process = subprocess.Popen(
        [sys.executable, ROOT / "deploy" / "local_cluster.py", *ports, "--nodes=2", f"--folder={folder}"],
        stdout=subprocess.PIPE,
        text=True,
        env={key: value for key, value in variables.items() if key != "RAY_ADDRESS"},
    )
    said = [process.stdout.readline() for _ in range(3)]
    exports = dict(line.removeprefix("export ").strip().split("=", 1) for line in said)
    yield variables | exports | {"NO_COLOR": "1"}
    family = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    process.wait(60)
    shutil.rmtree(folder)
    assert [member for member in family if member.is_running() and member.status() != "zombie"] == []


def start(cluster, *arguments):
    command = [sys.executable, "-m", "gr_vl.cli", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, env=cluster, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def gr_vl(cluster, *arguments, patience=240):
    process = start(cluster, *arguments)
    said = ended(process, patience)
    return process.returncode, said


def said_until(process, word):
    lines = []
    while word not in (line := process.stdout.readline()):
        assert line, "".join(lines)
        lines.append(line)
    return line


def submitted(said):
    return next(line.split()[1] for line in said.splitlines() if line.startswith("submitted "))


def test_a_stage_runs_there_as_it_would_here(cluster, tmp_path):
    code, said = gr_vl(cluster, "submit", "data", *TINY, f"run={tmp_path / 'run'}")
    assert code == 0, said
    assert re.search(r"upload \d\.\d", said)
    assert "start data" in said  # the job's own words
    assert json.loads((tmp_path / "run" / "data" / "stage.json").read_text())["counts"]["train"]["n"] == 12
    job = submitted(said)
    assert job.startswith("run-data-")
    assert job.endswith("-1")
    assert f"done  {job}" in said
    # The same job again: the next attempt, which finds the stage done.
    code, said = gr_vl(cluster, "submit", "data", *TINY, f"run={tmp_path / 'run'}")
    assert code == 0, said
    assert submitted(said) == f"{job[:-1]}2"
    assert "kept  data" in said
    code, said = gr_vl(cluster, "jobs", "status", job[:-2])
    assert code == 0
    assert [line.split()[:2] for line in said.splitlines()] == [["SUCCEEDED", job], ["SUCCEEDED", f"{job[:-1]}2"]]
    code, said = gr_vl(cluster, "jobs", "logs", job)
    assert (code, "start data" in said) == (0, True)


def test_a_mistake_that_only_the_cluster_can_see_comes_back_as_2_and_is_not_tried_again(cluster, tmp_path):
    # The run folder is not there yet, so that nothing can be checked here; the job finds no corpus.
    code, said = gr_vl(cluster, "submit", "base", *TINY[:2], f"run={tmp_path / 'nowhere'}", "--retries", "3")
    assert code == 2, said
    assert "error: " in said
    assert "data/train.parquet" in said
    assert said.count("submitted ") == 1
    assert f"mistake  {submitted(said)}" in said


def test_a_job_that_asks_too_much_says_so_and_can_be_joined_and_stopped(cluster, tmp_path):
    command = ("submit", "data", *TINY, f"run={tmp_path / 'run'}", "--gpus", "7")
    first = start(cluster, *command)
    job = said_until(first, "submitted ").split()[1]
    why = "PENDING: asks for GPU 7, and no node has more than 1: add such a node, or ask for less"
    assert said_until(first, "PENDING").strip() == why
    code, said = gr_vl(cluster, "jobs", "status", job)
    assert (code, said.splitlines()[0].split()[:2], said.splitlines()[1]) == (0, ["PENDING", job], why)
    second = start(cluster, *command)
    assert said_until(second, "attached to").split()[2].rstrip(",") == job
    assert gr_vl(cluster, "jobs", "stop", job) == (0, f"asked to stop  {job}\n")
    for process in (first, second):
        said = ended(process, 60)
        assert process.returncode == 1, said
        assert f"stopped  {job}" in said


def test_a_running_job_outlives_its_submitter(cluster, tmp_path):
    command = ("submit", "data", *TINY[:2], "gr_vl.data.train=20000", f"run={tmp_path / 'run'}")
    first = start(cluster, *command)
    said_until(first, "start data")
    first.kill()
    first.communicate()
    code, said = gr_vl(cluster, *command)
    assert code == 0, said
    assert "attached to" in said
    assert "start data" in said  # the log is read from its beginning
    assert json.loads((tmp_path / "run" / "data" / "stage.json").read_text())["counts"]["train"]["n"] == 20000


def test_a_driver_that_was_terminated_is_sent_again(cluster, tmp_path):
    run = tmp_path / "run"
    process = start(cluster, "submit", "data", *TINY[:2], "gr_vl.data.train=20000", f"run={run}")
    said_until(process, "start data")
    driver = [
        p
        for p in psutil.process_iter(["cmdline"])
        if f"run={run}" in p.info["cmdline"] and "submit" not in p.info["cmdline"]
    ]
    for member in driver:
        member.terminate()
    said = ended(process, 240)
    assert process.returncode == 0, said
    assert "preemption  run-data-" in said
    assert submitted(said).endswith("-2")


SHORTEST = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Shortest:
    def over(self, group):
        return [float(answer.output_tokens == min(a.output_tokens for a in group)) for answer in group]
"""


def test_rl_of_pictures_then_texts_runs_across_two_nodes_with_an_upper_bound_and_a_group_term(cluster, fresh):
    samples = io.read(fresh / "data" / "train.parquet")
    pictured, texts = ([sample for sample in samples if bool(sample.images) is seen] for seen in (True, False))
    io.write(fresh / "train.parquet", [*pictured[:4], *texts[:4]])
    (fresh / "shortest.py").write_text(SHORTEST)
    settings = (
        *(*RL, *DIRECT),
        f"data.train_files={fresh / 'train.parquet'}",
        "data.shuffle=false",
        "gr_vl.clip.kind=cosine",
        "gr_vl.clip.final=0.1",
        "gr_vl.clip.epsilon_high=0.3",
        f"+gr_vl.reward.terms.shortest.file={fresh / 'shortest.py'}",
        "gr_vl.saved_prompts=3",
        "trainer.total_training_steps=2",
        "trainer.save_freq=2",
    )
    code, said = gr_vl(
        cluster, "submit", "rl", *TINY[:2], f"run={fresh}", "seed=3", "gr_vl.nodes=2", *settings, patience=540
    )
    assert code == 0, said
    assert json.loads((fresh / "rl" / "stage.json").read_text())["kind"] == "rl"
    assert (fresh / "rl" / "model" / "config.json").is_file()
    # Each raylet has one slot, so that two ranks are on two of them.
    saved = fresh / "rl" / "checkpoints" / "global_step_2" / "actor"
    assert {path.name for path in saved.glob("model_world_size_*")} == {
        f"model_world_size_2_rank_{rank}.pt" for rank in (0, 1)
    }
    assert sorted(last_words(fresh / "rl")) == [1, 2]
    # From 0.2 to 0.1, and half as much again upwards.
    seen = [last_words(fresh / "rl")[step] for step in (1, 2)]
    assert [data["actor/clip_range"] for data in seen] == pytest.approx([0.2, 0.1], abs=1e-9)
    assert [data["actor/clip_range_high"] for data in seen] == pytest.approx([0.3, 0.15], abs=1e-9)
    assert seen[0]["belief/picture_effect"] > 0
    for step in (1, 2):
        groups = defaultdict(list)
        for line in (fresh / "rl" / "rollouts" / f"{step}.jsonl").read_text().splitlines():
            groups[json.loads(line)["uid"].rsplit("_", 2)[0]].append(json.loads(line))
        assert [len(group) for group in groups.values()] == [4, 4, 4]
        for group in groups.values():
            least = min(row["output_tokens"] for row in group)
            for row in group:
                assert bool(row["prompt"]["images"]) is (step == 1)
                # Every answer got what it has in its own group, which no worker that scores one by one can know.
                assert row["terms"]["shortest"] == float(row["output_tokens"] == least)
                assert row["score"] == pytest.approx(row["terms"]["total"], abs=1e-6)
                assert row["terms"]["total"] == pytest.approx(row["terms"]["token_price"] + row["terms"]["shortest"])


@pytest.mark.parametrize(
    ("token", "words"),
    [
        pytest.param(None, "Authentication required", id="no token"),
        pytest.param("0" * 64, "Authentication failed", id="a wrong token"),
    ],
)
def test_a_client_without_the_token_is_told_so(cluster, tmp_path, token, words):
    away = {key: value for key, value in cluster.items() if not key.startswith("RAY_AUTH")} | {"HOME": str(tmp_path)}
    if token:
        away |= {"RAY_AUTH_TOKEN": token}
    code, said = gr_vl(away, "jobs", "status")
    assert code == 2
    assert "token authentication refused this client" in said
    assert words in said
    assert "RAY_AUTH_TOKEN_PATH" in said
