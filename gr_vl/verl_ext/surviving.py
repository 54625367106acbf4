"""verl's RL trainers made to survive: whole checkpoints, an end on request, an exact resume of the synchronous one.

Three things of verl make two runs of one seed differ, and so a resumed run from an uninterrupted one: prompts have
random names, answers stand in a batch in the order in which they arrived, and so do requests to the rollout server
(`server.py`). Here names are a function of the step, and the batch is in the order of the names. An asynchronous
trainer takes answers as they come: when resumed, it goes on as another run.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transfer_queue as tq
from omegaconf import DictConfig, open_dict
from verl.trainer.ppo.v1.trainer_base import PPOTrainer
from verl.utils import tensordict_utils as tu

from gr_vl import checkpoints, stop, watchdog
from gr_vl.errors import Preempted, StageError
from gr_vl.nonfinite import Skips


def place(key: str) -> tuple[str, int, int]:
    """Where an answer's key, PROMPT_ANSWER_TURN, stands in a batch."""
    prompt, answer, turn = key.rsplit("_", 2)
    return prompt, int(answer), int(turn)


class Surviving(PPOTrainer):
    """Stands before one of verl's trainers, of `mode`. A checkpoint counts once its step's metrics and rollouts are on
    disk too: a kill leaves all of them or none.
    """

    mode: str

    def __init__(self, config: DictConfig) -> None:
        # verl picks its replay buffer, sampler and checkpoint form by this name and knows no subclasses.
        with open_dict(config):
            config.trainer.v1.trainer_mode = self.mode
        # verl forgets at a resume what it saved before, and removes the old checkpoint before the new one is whole.
        self._keep: int | None = config.trainer.max_actor_ckpt_to_keep
        with open_dict(config):
            config.trainer.max_actor_ckpt_to_keep = config.trainer.max_critic_ckpt_to_keep = None
        super().__init__(config)
        self._root = Path(config.trainer.default_local_dir).absolute()
        self._saved, self._named = 0, (0, 0)
        self._company = _company(config) if self.mode == "sync" else 0
        self._answers = config.data.train_batch_size // self.parameter_sync_step * config.actor_rollout_ref.rollout.n
        self._skips = Skips(config.gr_vl.nonfinite_limit, self._root.parent / "nonfinite")

    def on_train_begin(self) -> None:
        """Watch the log, which is written last in a step."""
        super().on_train_begin()
        if stop.requested(self._root.parent):
            raise Preempted("asked to stop before the first step")
        self.logger.log = self._then_close(self.logger.log)
        self.actor_rollout_wg.update_actor = self._counting(self.actor_rollout_wg.update_actor)

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
        with watchdog.phase("save"):
            super()._save_checkpoint()
        self._saved = self.global_steps

    def init(self) -> None:
        """Start all workers."""
        with watchdog.phase("load"):
            super().init()

    def step(self, metrics: dict[str, Any], timing_raw: dict[str, float]) -> Any:
        """Train one step, in one update or, asynchronously, in several."""
        self._skipped = 0
        batch = super().step(metrics, timing_raw)
        metrics["actor/skipped_updates"] = self._skipped
        return batch

    def _step_once(self, metrics: dict[str, Any], timing_raw: dict[str, float], sample_batch_size: int) -> Any:
        self._waiting = watchdog.begin("rollout")
        return super()._step_once(metrics, timing_raw, sample_batch_size)

    def on_sample_end(self) -> None:
        """The step's answers are there."""
        super().on_sample_end()
        watchdog.end(self._waiting)

    def on_step_end(self) -> None:
        """Send the new weights to the sampler."""
        with watchdog.phase("sync"):
            super().on_step_end()

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        with watchdog.phase("log_prob"):
            return super()._compute_old_log_prob(batch, metrics)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        with watchdog.phase("update"):
            updated = super()._update_actor(batch, metrics)
        if self._skips.too_many:
            self._skips.give_up(self.global_steps, _rows(batch))
        return updated

    def _counting(self, update: Callable[..., Any]) -> Callable[..., Any]:
        def update_actor(batch: Any) -> Any:
            output = update(batch)
            self._skipped += self._skips.count(output["metrics"]["grad_norm"])
            return output

        return update_actor

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
        if len(batch.keys) != self._answers:
            # verl would train on what is left: another run than the one that was asked for.
            raise StageError(
                f"{self._answers - len(batch.keys)} of {self._answers} answers of step {self.global_steps} failed on "
                "their way; the errors of their agent loop, rollout server or reward are in the log above"
            )
        batch.reorder(sorted(range(len(batch.keys)), key=lambda index: place(batch.keys[index])))
        return super()._balance_batch(batch, metrics, **kwargs)


_KEPT = ("extra_info", "prompts", "responses", "rollout_log_probs", "old_log_probs", "rm_scores", "advantages")


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """A batch as plain values, one answer after another."""
    for key in batch.keys:
        row = tq.kv_batch_get(keys=[key], partition_id=batch.partition_id, select_fields=list(_KEPT))[0]
        values = {name: row[name] for name in _KEPT}
        plain = {
            name: v.tolist() if isinstance(v, torch.Tensor) else getattr(v, "data", v) for name, v in values.items()
        }
        yield {"key": key} | plain


def _company(config: DictConfig) -> int:
    """Answers that one server gets in a step; 0 where several share them in an order that is not ours."""
    rollout = config.actor_rollout_ref.rollout
    ranks = rollout.tensor_model_parallel_size * rollout.data_parallel_size * rollout.pipeline_model_parallel_size
    alone = config.trainer.n_gpus_per_node * config.trainer.nnodes == ranks
    return config.data.train_batch_size * rollout.n if alone else 0
