"""Is N steps the same as k steps, a kill, a resume and N - k steps? Bit for bit: weights, optimiser, metrics, rollouts.

`python bench/resume_exact.py [sft|rl] [K ...]` runs the demo's stages in small on this machine's CPU, for real, for
every k by default. The kill is a SIGKILL of everything that the stage started, as soon as step k's checkpoint counts.
Epochs are two steps long: every other k is an epoch's end. Columns of time and memory are left out.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tiny_runs import differences, end, family, kill, start

from gr_vl.checkpoints import MARK
from gr_vl.verl_ext.loading import trust_random_states

STEPS = 5
TRAINING = ["trainer.save_freq=1", f"trainer.total_training_steps={STEPS}", "trainer.total_epochs=9"]


def main() -> int:
    """0 if every resumed run ended like the uninterrupted one."""
    kinds = [word for word in sys.argv[1:] if word in ("sft", "rl")] or ["sft", "rl"]
    steps = [int(word) for word in sys.argv[1:] if word.isdigit()] or range(1, STEPS)
    trust_random_states()
    home, failures = Path(tempfile.mkdtemp(prefix="resume_exact_")), 0
    whole = home / "whole"
    for kind, settings in ({"data": [], "base": []} | dict.fromkeys(kinds, TRAINING)).items():
        end(start(kind, whole, *settings), whole / kind)
    for kind in kinds:
        for k in steps:
            resumed = home / f"{kind}_{k}"
            for made in ("data", "base"):
                shutil.copytree(whole / made, resumed / made)
            kill_after(k, start(kind, resumed, *TRAINING), resumed / kind)
            end(start(kind, resumed, *TRAINING), resumed / kind)
            found = differences(whole / kind, resumed / kind)
            failures += bool(found)
            print(f"{kind} killed after step {k} of {STEPS}: {'; '.join(found) or 'the same bits'}", flush=True)
    print(f"kept: {home}" if failures else "all the same")
    if not failures:
        shutil.rmtree(home)
    return int(failures > 0)


def kill_after(step: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """SIGKILL a stage and all that it started as soon as a step's checkpoint counts."""
    mark = folder / "checkpoints" / f"global_step_{step}" / MARK
    while not mark.exists():
        if process.poll() is not None:
            end(process, folder)
        time.sleep(0.005)
    kill(family(process))
    process.wait()


if __name__ == "__main__":
    sys.exit(main())
