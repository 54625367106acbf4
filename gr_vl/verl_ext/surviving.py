"""verl's synchronous RL trainer made to survive: whole checkpoints, an exact resume, an end on request.

Three things of verl make two runs of one seed differ, and so a resumed run from an uninterrupted one: prompts have
random names, answers stand in a batch in the order in which they arrived, and so do requests to the rollout server
(`server.py`). Here names are a function of the step, and the batch is in the order of the names.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, open_dict
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils import tensordict_utils as tu

from gr_vl import checkpoints, stop
from gr_vl.errors import Preempted


def place(key: str) -> tuple[str, int, int]:
    """Where an answer's key, PROMPT_ANSWER_TURN, stands in a batch."""
    prompt, answer, turn = key.rsplit("_", 2)
    return prompt, int(answer), int(turn)


class SurvivingTrainer(PPOTrainerSync):
    """A checkpoint counts once its step's metrics and rollouts are on disk too: a kill leaves all of them or none."""

    def __init__(self, config: DictConfig) -> None:
        # verl forgets at a resume what it saved before, and removes the old checkpoint before the new one is whole.
        self._keep: int | None = config.trainer.max_actor_ckpt_to_keep
        with open_dict(config):
            config.trainer.max_actor_ckpt_to_keep = config.trainer.max_critic_ckpt_to_keep = None
        super().__init__(config)
        self._root = Path(config.trainer.default_local_dir).absolute()
        self._saved, self._named = 0, (0, 0)
        self._company = _company(config)

    def on_train_begin(self) -> None:
        """Watch the log, which is written last in a step."""
        super().on_train_begin()
        if stop.requested(self._root.parent):
            raise Preempted("asked to stop before the first step")
        self.logger.log = self._then_close(self.logger.log)

    def _then_close(self, log: Callable[..., None]) -> Callable[..., None]:
        def logged(data: dict[str, Any], step: int, **kwargs: Any) -> None:
            log(data=data, step=step, **kwargs)
            self._close_step(step)

        return logged

    def _close_step(self, step: int) -> None:
        stopping = step < self.total_training_steps and stop.requested(self._root.parent)
        if stopping and self._saved != step:
            self._save_checkpoint()
        if self._saved == step:
            for written in self._dump_futures:
                written.result()
            checkpoints.mark(self._root / f"global_step_{step}", step)
            checkpoints.point(self._root, step)
            checkpoints.prune(self._root, self._keep)
        if stopping:
            raise Preempted(f"asked to stop; step {step} of {self.total_training_steps} is saved")

    def _save_checkpoint(self) -> None:
        super()._save_checkpoint()
        self._saved = self.global_steps

    def _fetch_one_gen_batch(self) -> Any:
        batch = super()._fetch_one_gen_batch()
        step, number = self._named if self._named[0] == self.global_steps else (self.global_steps, 0)
        names = [f"{step:07}-{number + row:06}" for row in range(len(batch))]
        self._named = step, number + len(batch)
        batch["uid"] = tu.get_tensordict({"uid": names})["uid"]
        # How many answers a rollout server has to expect in this step, so that it reads them in one order.
        batch["company"] = torch.full((len(batch), 1), self._company)
        return batch

    def _balance_batch(self, batch: Any, metrics: dict[str, Any], **kwargs: Any) -> Any:
        batch.reorder(sorted(range(len(batch.keys)), key=lambda index: place(batch.keys[index])))
        return super()._balance_batch(batch, metrics, **kwargs)


def _company(config: DictConfig) -> int:
    """Answers that one server gets in a step; 0 where several share them in an order that is not ours."""
    rollout = config.actor_rollout_ref.rollout
    ranks = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
    alone = config.trainer.n_gpus_per_node * config.trainer.nnodes == ranks
    return config.data.train_batch_size * rollout.n if alone else 0
