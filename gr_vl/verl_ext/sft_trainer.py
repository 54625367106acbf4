"""verl's SFT trainer under Ray with checkpoints that are whole, an exact resume and an end on request.

Which samples a step sees is a function of the epoch and the step alone (verl's sampler shuffles by the epoch). verl
resumes at an epoch's end into an exhausted loader, trains nothing and reports success (verl 7401): here a loader's
position is restored only inside of an epoch.
"""

from pathlib import Path
from typing import Any

import torch
from verl.trainer import sft_trainer_ray
from verl.utils.checkpoint import CheckpointHandler, OrchestrationMode
from verl.utils.checkpoint.checkpoint_handler import extract_step

from gr_vl import checkpoints, stop, watchdog
from gr_vl.errors import Preempted
from gr_vl.nonfinite import Skips


class MarkedCheckpoints(CheckpointHandler):
    """verl's handler, which declares a checkpoint whole when all of it is there and only then removes older ones."""

    def __init__(self, *args: Any, keep: int | None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.keep, self.tokens = keep, 0

    def save_checkpoint(self, step: int) -> None:
        """Save a step with the number of tokens seen so far."""
        with watchdog.phase("save"):
            super().save_checkpoint(step)
        root = Path(self.default_local_dir)
        checkpoints.mark(root / f"global_step_{step}", step, tokens=self.tokens)
        checkpoints.prune(root, self.keep)

    def _load_dataloader_state(self, checkpoint_path: str) -> None:
        step, folder = extract_step(checkpoint_path), Path(checkpoint_path)
        found = checkpoints.newest(folder.parent)
        assert found is not None
        assert found.step == step
        self.tokens = found.facts["tokens"]
        if step % len(self.train_dataloader):
            self.train_dataloader.load_state_dict(torch.load(folder / "data_0.pt", weights_only=True))


class GuardSFT(sft_trainer_ray.SFTTrainer):
    """verl's trainer, watched at the end of every step."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        # verl counts tokens and averages losses on the driver, which runs on a node that may have no GPU.
        self.device_name = "cpu"

    def _build_ckpt_handler(self) -> None:
        trainer = self.config.trainer
        self.ckpt_handler = MarkedCheckpoints(
            keep=trainer.max_ckpt_to_keep,
            engine=self.training_client,
            train_dataloader=self.train_dataloader,
            default_local_dir=trainer.default_local_dir,
            default_hdfs_dir=trainer.default_hdfs_dir,
            mode=OrchestrationMode.RAY,
        )

    def fit(self) -> None:
        """Train to the last step. Raises Preempted after a checkpoint when asked to stop."""
        trainer, stock = self, sft_trainer_ray.Tracking

        class Watched(sft_trainer_ray.Tracking):
            def log(self, data: dict[str, Any], step: int, **kwargs: Any) -> None:
                trained = "train/loss" in data
                super().log(trainer.counted(data) if trained else data, step, **kwargs)
                if trained:
                    trainer.on_step_end(step)

        sft_trainer_ray.Tracking = Watched
        try:
            super().fit()
        finally:
            sft_trainer_ray.Tracking = stock

    def _build_engine(self) -> None:
        self._phase = watchdog.begin("load")
        self._skips = Skips(self.config.gr_vl.nonfinite_limit, _folder(self.config) / "nonfinite")
        super()._build_engine()
        train = self.training_client.train_batch

        def train_batch(batch: Any) -> Any:
            self._batch = batch
            self._enter("update")
            return train(batch)

        self.training_client.train_batch = train_batch

    def _enter(self, phase: str) -> None:
        watchdog.end(self._phase)
        self._phase = watchdog.begin(phase)

    def counted(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """The step's metrics with the tokens of the whole run: verl counts from the last resume."""
        self.ckpt_handler.tokens += int(metrics["train/global_tokens"])
        skipped = self._skips.count([metrics["train/grad_norm"]])
        return metrics | {"train/total_tokens(B)": self.ckpt_handler.tokens / 1e9, "train/skipped_updates": skipped}

    def on_step_end(self, step: int) -> None:
        """What happens between two steps."""
        self._enter("load")
        if self._skips.too_many:
            rows = [ids.tolist() for ids in self._batch["input_ids"].unbind()]
            self._skips.give_up(step, ({"input_ids": ids} for ids in rows))
        if step < self.total_training_steps and stop.requested(_folder(self.config)):
            self.ckpt_handler.save_checkpoint(step)
            raise Preempted(f"asked to stop; step {step} of {self.total_training_steps} is saved")


def _folder(config: Any) -> Path:
    return Path(config.trainer.default_local_dir).parent
