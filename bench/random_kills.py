"""Kill runs at random, again and again, and see whether they end as if nothing had happened.

`python bench/random_kills.py [sft=17 rl=21 mine=12] [seed=0]` runs the demo's stages in small on this machine's CPU.
Each kill is a SIGKILL of one process: the driver, the trainer, a worker, a rollout server or a reward worker. It falls
at a uniform time of the stage or, every other time, within a save. Then the same command is run again. After each kill:

- the stage has ended by itself, and not as a success;
- its newest checkpoint loads, and is no older than the one before;
- no more steps are lost than lie between two saves;
- the next start goes on from there.

At the end, weights, optimiser, metrics and rollouts (of mining: answers and hard samples) equal an uninterrupted run's.
"""

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import torch
from tiny_runs import attempts, differences, end, family, kill, start

from gr_vl.checkpoints import MARK, newest
from gr_vl.verl_ext.loading import trust_random_states

SAVE_EVERY = 2
SETTINGS = {
    "sft": [f"trainer.save_freq={SAVE_EVERY}", "trainer.total_training_steps=60", "trainer.total_epochs=99"],
    "rl": [f"trainer.save_freq={SAVE_EVERY}", "trainer.total_training_steps=24", "trainer.total_epochs=99"],
    "mine": [],
}
VICTIMS = {
    "driver": ("gr_vl.stages",),
    "trainer": ("ray::TaskRunner",),
    "worker": ("ray::WorkerDict", "ray::TrainingWorker"),
    "rollout server": ("ray::TransformersServer",),
    "reward worker": ("ray::RewardLoopWorker",),
}
OF_KIND = {"sft": ("driver", "worker"), "rl": tuple(VICTIMS), "mine": ("driver", "rollout server")}
PATIENCE = 120.0
"""Seconds that a stage may take to notice that one of its processes is gone. What it no longer needed may be missed."""


@dataclass
class Trial:
    """Kills of one kind of stage, one run after another."""

    kind: str
    whole: Path
    seconds: float
    """Of the uninterrupted run."""
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    noticed: list[float] = field(default_factory=list)
    saves: int = 0

    def once(self, run: Path) -> bool:
        """Start the stage, kill one of its processes and check what is left; False where it ended before."""
        folder, kind = run / self.kind, self.kind
        begun, before = len(attempts(folder)), step(folder)
        process = start(kind, run, *SETTINGS[kind])
        victim = self.chance.choice(OF_KIND[kind])
        in_save = kind != "mine" and self.killed.total() % 2 == 1
        doomed = self._await(process, folder, victim, in_save)
        if doomed is None:
            end(process, folder)
            return False
        self.saves += in_save
        self.killed[victim] += 1
        kill([doomed])
        at = time.monotonic()
        try:
            code = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            code = 0
            kill(family(process))
        self.noticed.append(time.monotonic() - at)
        self._check(folder, before, begun, code, victim)
        return True

    def _await(
        self, process: subprocess.Popen[bytes], folder: Path, victim: str, in_save: bool
    ) -> psutil.Process | None:
        """The process to kill, when its time has come; None once the stage has ended."""
        until = time.monotonic() + self.chance.uniform(0.0, self.seconds)
        late, save_began, stale = self.chance.uniform(0.0, 0.3), None, unmarked(folder)
        while process.poll() is None:
            if in_save and save_began is None and unmarked(folder) - stale:
                save_began = time.monotonic()
            due = time.monotonic() >= (until if not in_save else (save_began or float("inf")) + late)
            if due and (found := find(process, victim)):
                return found
            time.sleep(0.005 if in_save else 0.05)
        return None

    def _check(self, folder: Path, before: int, begun: int, code: int, victim: str) -> None:
        name = f"{self.kind}, {victim} killed (number {self.killed.total()})"
        if code == 0 and not (folder / "stage.json").exists():
            self.faults.append(f"{name}: went on for {PATIENCE:.0f} s, or ended as a success")
        if self.kind == "mine":
            return
        now, logs = step(folder), attempts(folder)
        if now < before:
            self.faults.append(f"{name}: the newest checkpoint went back from {before} to {now}")
        rows = logs[-1] if len(logs) > begun else []
        if rows and rows[0] != before + 1:
            self.faults.append(f"{name}: went on at step {rows[0]}, not at {before + 1}")
        self.lost.append(max(rows, default=before) - now)
        if self.lost[-1] > SAVE_EVERY:
            self.faults.append(f"{name}: lost {self.lost[-1]} steps")
        if found := newest(folder / "checkpoints"):
            for path in found.folder.rglob("*.pt"):
                torch.load(path, weights_only=True)

    def finish(self, run: Path) -> None:
        """Run what is left and compare with the uninterrupted run."""
        end(start(self.kind, run, *SETTINGS[self.kind]), run / self.kind)
        self.compare(run)

    def compare(self, run: Path) -> None:
        """Note what a finished run does not share with the uninterrupted one."""
        one, other = self.whole / self.kind, run / self.kind
        if self.kind == "mine":
            names = ("answers.jsonl", "hard.parquet", "difficulty.json")
            found = [name for name in names if (one / name).read_bytes() != (other / name).read_bytes()]
        else:
            found = differences(one, other)
        self.faults += [f"{self.kind}, the end: {what}" for what in found]


def step(folder: Path) -> int:
    """The step of the newest whole checkpoint; 0 without one."""
    found = newest(folder / "checkpoints")
    return found.step if found else 0


def unmarked(folder: Path) -> set[tuple[str, int]]:
    """Checkpoints that do not count: one that is being written, or what a kill left of one."""
    found = (folder / "checkpoints").glob("global_step_*")
    return {(path.name, path.stat().st_ino) for path in found if path.is_dir() and not (path / MARK).exists()}


def find(process: subprocess.Popen[bytes], victim: str) -> psutil.Process | None:
    """A process of the stage that plays this part; None while there is none."""
    for member in family(process)[1:]:
        try:
            words = " ".join(member.cmdline())
        except psutil.Error:
            continue
        if any(part in words for part in VICTIMS[victim]):
            return member
    return None


def main() -> int:
    """0 if no kill did any harm."""
    wanted = {"sft": 17, "rl": 21, "mine": 12, "seed": 0} | {
        name: int(number) for name, number in (word.split("=") for word in sys.argv[1:])
    }
    seed = wanted.pop("seed")
    trust_random_states()
    home = Path(tempfile.mkdtemp(prefix="random_kills_"))
    whole, faults, killed = home / "whole", 0, 0
    for kind in ("data", "base"):
        end(start(kind, whole), whole / kind)
    for kind in (kind for kind, number in wanted.items() if number):
        at = time.monotonic()
        end(start(kind, whole, *SETTINGS[kind]), whole / kind)
        trial = Trial(kind, whole, time.monotonic() - at, random.Random(f"{seed} {kind}"))
        print(f"{kind}: uninterrupted {trial.seconds:.0f} s", flush=True)
        runs = 0
        while trial.killed.total() < wanted[kind]:
            run = home / f"{kind}_{runs}"
            runs += 1
            run.mkdir()
            for made in ("data", "base"):
                (run / made).symlink_to(whole / made)
            while trial.killed.total() < wanted[kind] and trial.once(run):
                print(f"  kill {trial.killed.total()}, checkpoint of step {step(run / kind)}", flush=True)
            trial.finish(run)
        faults, killed = faults + len(trial.faults), killed + trial.killed.total()
        what = ", ".join(f"{name} {number}" for name, number in sorted(trial.killed.items()))
        print(f"{kind}: {trial.killed.total()} kills ({what}; {trial.saves} within a save) of {runs} runs")
        print(f"  steps lost: {sum(trial.lost)}, at most {max(trial.lost, default=0)}; saves every {SAVE_EVERY} steps")
        print(f"  ended after at most {max(trial.noticed):.1f} s; {'; '.join(trial.faults) or 'no fault'}", flush=True)
    print(f"{killed} kills, {faults} faults; {home}")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
