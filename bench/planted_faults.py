"""Plant a fault in a real RL run and see that it is named: `python bench/planted_faults.py`, some minutes on two cores.

Each fault is a few lines that change verl or us in every process of the run, put in by verl's own door for plugins (an
entry point `verl.plugins` on the path). A reward that hangs and a server that stops answering are in the tests
(`tests/verl/test_planted_faults.py`).
"""

import json
import os
import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tiny_runs import end, start

STEPS = ["trainer.total_training_steps=3", "trainer.save_freq=3", "gr_vl.nonfinite_limit=3"]


@dataclass(frozen=True)
class Fault:
    """What is done to every process, and what must be said; the run ends with exit code 1 or is marked red."""

    source: str
    words: str
    ends: bool = True


FAULTS = {
    "nothing": Fault("", "", ends=False),
    "the picture is lost before the trainer": Fault(
        """
import verl.trainer.ppo.v1.agent_loop_tq as sampled
right = sampled.list_of_dict_to_tensordict
sampled.list_of_dict_to_tensordict = lambda rows: right([row | {"multi_modal_inputs": {}} for row in rows])
""",
        r"picture lost: the prompt of \S+ holds \d+ patches, the trainer gets 0",
    ),
    "the trainer's engine drops the picture": Fault(
        """
import verl.workers.engine.fsdp.transformer_impl as engine
engine.extract_multi_modal_inputs = lambda *_, **__: {}
""",
        "pictures have no effect on the trainer",
    ),
    "the padding is taken to be on the other side": Fault(
        """
from verl.workers.engine.fsdp.transformer_impl import FSDPEngineWithLMHead as Engine
right = Engine.prepare_model_inputs
def wrong(self, micro_batch):
    inputs, rest = right(self, micro_batch)
    inputs["attention_mask"] = inputs["attention_mask"].flip(1)
    return inputs, rest
Engine.prepare_model_inputs = wrong
""",
        "RED at step 1: sampler and trainer differ",
        ends=False,
    ),
    "the sampler keeps its old weights and says that they are new": Fault(
        """
import ray
from gr_vl.verl_ext import rollout
right = rollout.WeightSender.update_weights
async def stale(self, weights, global_steps=None, **rest):
    if not global_steps:
        return await right(self, weights, global_steps, **rest)
    async for _ in self._buckets(weights):
        pass
    await ray.get_actor(rollout._actor_name(self.replica_rank)).set_global_steps.remote(global_steps)
rollout.WeightSender.update_weights = stale
""",
        "RED at step 2: sampler and trainer differ",
        ends=False,
    ),
    "the loss is no number": Fault(
        """
from gr_vl.verl_ext import trainer
right = trainer.clipped_loss
def nan(*arguments):
    loss, metrics = right(*arguments)
    return loss * float("nan"), metrics
trainer.clipped_loss = nan
""",
        r"the gradients of \d+ updates in a row were not finite, up to step 2",
    ),
}


def main() -> int:
    """Run all; print what each said. 1 when one went by unnamed."""
    missed = 0
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder) / "run"
        for kind in ("data", "base"):
            end(start(kind, base), base / kind)
        for number, (name, fault) in enumerate(FAULTS.items()):
            said = _run(Path(folder) / str(number), base, fault)
            missed += said is None
            print(f"{'MISSED' if said is None else 'named ' if fault.words else 'clean '}  {name}: {said}", flush=True)
    return int(missed > 0)


def _run(run: Path, base: Path, fault: Fault) -> str | None:
    """What the run said of its fault; None if nothing."""
    run.mkdir()
    for kind in ("data", "base"):
        (run / kind).symlink_to(base / kind)
    (run / "planted-1.dist-info").mkdir()
    (run / "planted-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: planted\nVersion: 1\n")
    (run / "planted-1.dist-info" / "entry_points.txt").write_text("[verl.plugins]\nplanted = planted\n")
    (run / "planted.py").write_text(fault.source)
    path = os.pathsep.join(filter(None, (str(run), os.environ.get("PYTHONPATH"))))
    code = start("rl", run, *STEPS, environment={"PYTHONPATH": path}).wait()
    log = (run / "rl" / "stage.log").read_text(errors="replace")
    found = re.search(fault.words, log) if fault.words else None
    rows = [json.loads(line)["data"] for file in (run / "rl").glob("metrics-*.jsonl") for line in file.open()]
    red = [row["belief/red"] for row in rows if "belief/red" in row]
    if not fault.words:
        return f"no step is red in {len(red)}" if code == 0 and red and not any(red) else None
    if found is None or code != int(fault.ends) or (not fault.ends and not any(red)):
        return None
    return f"{found[0]!r}, exit code {code}" + ("" if fault.ends else f", belief/red in {int(sum(red))} of {len(red)}")


if __name__ == "__main__":
    sys.exit(main())
