"""Stages through the command line, how to kill one, and what it logged."""

import json
import signal
import subprocess
import sys
import time

import psutil

PATIENCE = 600
"""Seconds that a stage may take; on a busy machine RL alone needed more than four minutes to its first step."""
RL = [
    "gr_vl.image_pixels.max=3136",
    "data.train_batch_size=4",
    "data.max_response_length=48",
    "actor_rollout_ref.rollout.n=4",
    "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu=2",
    "actor_rollout_ref.actor.ppo_mini_batch_size=2",
    "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=2",
    "gr_vl.clip.kind=paper",
    "gr_vl.clip.epsilon=0.2",
    "gr_vl.clip.final=0.0",
    "gr_vl.reward.preset=token_price",
    # An untrained guard is never right: only the price of its tokens tells its answers apart.
    "+gr_vl.reward.terms.token_price.price=0.4",
]
# Straight from the untrained model, where a test is about the runner and not about learning.
DIRECT = ["data.train_files=${gr_vl.run}/data/train.parquet", "gr_vl.start_model=${gr_vl.run}/base/model"]
SFT = [
    "optim.lr=2e-3",
    "optim.lr_warmup_steps_ratio=0.05",
    "data.train_batch_size=8",
    "data.micro_batch_size_per_gpu=4",
    "trainer.test_freq=-1",
    # A quarter of an image's 84 x 84 pixels; mining and RL see more of it than the cold start did.
    "gr_vl.image_pixels.max=1764",
]
MINE = [
    "gr_vl.image_pixels.max=3136",
    "gr_vl.generation.samples=12",
    "gr_vl.generation.answers=2",
    "gr_vl.mine.rule=any_wrong",
    "actor_rollout_ref.rollout.response_length=24",
]


def start(kind, run, *overrides, recipe="guardreasoner_vl"):
    """A stage through the command line, as its own process group."""
    command = [sys.executable, "-m", "gr_vl.cli", kind, recipe, "model=tiny", f"run={run}", "seed=3"]
    return subprocess.Popen(
        [*command, *overrides], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def do(kind, run, *overrides, recipe="guardreasoner_vl"):
    """Run a stage to its end; returns what it said."""
    process = start(kind, run, *overrides, recipe=recipe)
    said = ended(process)
    logs = [path.read_text(errors="replace")[-4000:] for path in run.glob("*/stage.log")] if process.returncode else []
    assert process.returncode == 0, "\n".join([said, *logs])
    return said


def ended(process, patience=PATIENCE):
    """What a process said until it ended; one that takes longer is killed with all that it started."""
    try:
        return process.communicate(timeout=patience)[0]
    finally:
        _kill(process)


def kill_when(process, reached):
    """SIGKILL a stage and all that it started as soon as `reached()`; fails if it ends before."""
    until = time.monotonic() + PATIENCE
    try:
        while not reached():
            assert process.poll() is None, process.stdout.read()
            assert time.monotonic() < until, "the stage did not get there"
            time.sleep(0.02)
        assert process.poll() is None, "the stage ended before it could be killed"
    finally:
        _kill(process)


def _kill(process):
    """SIGKILL what is left of a stage and of all that it started: it must not take the cores from the next test."""
    try:
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=20)
    process.communicate()


def metrics(folder):
    """Steps and numbers of every attempt, in the order of the attempts."""
    files = sorted(folder.glob("metrics-*.jsonl"))
    return [[json.loads(line) for line in path.read_text().splitlines()] for path in files]


def last_words(folder):
    """Every step's numbers; of a step that was done twice, the last."""
    return {row["step"]: row["data"] for attempt in metrics(folder) for row in attempt}
