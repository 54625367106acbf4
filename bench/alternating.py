"""A trainer that compares sampler and trainer at even steps and does not at odd ones; `bookkeeping.py` runs it."""

from typing import Any

from verl.trainer.ppo.v1.trainer_base import register_trainer

from gr_vl.verl_ext import trainer
from gr_vl.verl_ext.trainer import Guarding, GuardTrainer, StepLoss, clipped_loss


class PlainLoss:
    """The loss of a step that is not compared."""

    def __init__(self, config: Any) -> None:
        self.config = config

    def __call__(self, model_output: Any, data: Any, dp_group: Any = None) -> Any:
        """Loss and metrics of a micro-batch."""
        return clipped_loss(self.config, model_output, data, dp_group)


@register_trainer("alternating")
class AlternatingTrainer(GuardTrainer):
    """Ours at even steps; at odd ones without what is done for belief alone."""

    @property
    def watched(self) -> bool:
        """Whether this step is compared."""
        return bool(self.global_steps % 2 == 0)

    def on_step_begin(self) -> None:
        """Choose the step's loss."""
        trainer.StepLoss = StepLoss if self.watched else PlainLoss
        super().on_step_begin()

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        ours = super() if self.watched else super(Guarding, self)
        return ours._compute_old_log_prob(batch, metrics)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        ours = super() if self.watched else super(Guarding, self)
        return ours._update_actor(batch, metrics)
