"""GRPO with a clip range that is a function of the step (GuardReasoner-VL, equation 7), on verl's trainers.

The released code of the paper changes its driver's copy of the configuration, which the workers never see. Here every
step ships a new loss to the workers, and the range is reported from inside that loss. Off-policy, it is that of the
step that trains, whichever step sampled the answers.
"""

import dataclasses
from typing import Any

from omegaconf import DictConfig
from verl.trainer.ppo.v1.trainer_base import register_trainer
from verl.trainer.ppo.v1.trainer_colocate_async import PPOTrainerColocateAsync
from verl.trainer.ppo.v1.trainer_separate_async import PPOTrainerSeparateAsync
from verl.trainer.ppo.v1.trainer_sync import PPOTrainerSync
from verl.utils.config import omega_conf_to_dataclass
from verl.utils.debug import marked_timer
from verl.utils.metric import AggregationType, Metric
from verl.workers.config import ActorConfig
from verl.workers.utils.losses import ppo_loss
from verl.workers.utils.padding import no_padding_2_padding

from gr_vl.clipping import ClipSchedule
from gr_vl.compose import plain
from gr_vl.verl_ext.belief import Belief, gap_metrics
from gr_vl.verl_ext.step_rewards import StepRewards
from gr_vl.verl_ext.surviving import Surviving
from rewards import SafetyReward


def clipped_loss(config: ActorConfig, model_output: Any, data: Any, dp_group: Any = None) -> tuple[Any, dict[str, Any]]:
    """verl's policy loss, which also tells the clip range that it used, and the upper bound's where that differs."""
    loss, metrics = ppo_loss(config=config, model_output=model_output, data=data, dp_group=dp_group)
    metrics["actor/clip_range"] = Metric(value=config.clip_ratio_low, aggregation=AggregationType.MEAN)
    if config.clip_ratio_high != config.clip_ratio_low:
        metrics["actor/clip_range_high"] = Metric(value=config.clip_ratio_high, aggregation=AggregationType.MEAN)
    return loss, metrics


class StepLoss:
    """The loss of one step on one worker. In sync, the first mini-batch is seen with the weights that sampled it."""

    def __init__(self, config: ActorConfig) -> None:
        self.config, self.rows = config, 0

    def __call__(self, model_output: Any, data: Any, dp_group: Any = None) -> tuple[Any, dict[str, Any]]:
        """Loss and metrics of a micro-batch."""
        loss, metrics = clipped_loss(self.config, model_output, data, dp_group)
        if self.rows * data["dp_size"] < data["global_batch_size"]:
            log_probs = no_padding_2_padding(model_output["log_probs"], data)
            padded = data.select("rollout_log_probs", "response_mask").to_padded_tensor()
            metrics |= gap_metrics(log_probs, padded["rollout_log_probs"], padded["response_mask"].bool())
        self.rows += len(data)
        return loss, metrics


class Guarding(Surviving):
    """Adds the clip schedule, rewards of whole groups, rollouts saved with every term, and the checks of `belief`."""

    def __init__(self, config: DictConfig) -> None:
        super().__init__(config)
        self.replay_buffer.poll_interval = config.gr_vl.poll_seconds
        self.clip_schedule = ClipSchedule(**config.gr_vl.clip)
        settings = plain(config.gr_vl)
        reward = SafetyReward.from_config(settings["reward"], settings["dialect"])
        self._step_rewards = StepRewards(reward, settings["saved_prompts"])

    def on_train_begin(self) -> None:
        """Keep the actor's configuration that the workers' losses are derived from."""
        super().on_train_begin()
        self._actor_config: ActorConfig = omega_conf_to_dataclass(self.config.actor_rollout_ref.actor)

    def on_step_begin(self) -> None:
        """Set this step's clip range on every worker."""
        super().on_step_begin()
        self._step_rewards.begin()
        low, high = self.clip_schedule.bounds(self.global_steps, self.total_training_steps)
        config = dataclasses.replace(self._actor_config, clip_ratio=low, clip_ratio_low=low, clip_ratio_high=high)
        self.actor_rollout_wg.set_loss_fn(StepLoss(config))

    def _init_tokenizer(self) -> None:
        super()._init_tokenizer()
        lag = 0 if self.mode == "sync" else self.config.trainer.v1.sampler.max_off_policy_threshold
        self._belief = Belief(**plain(self.config.gr_vl.belief), lag=lag, processor=self.processor)

    def _compute_old_log_prob(self, batch: Any, metrics: dict[str, Any]) -> Any:
        with marked_timer("bookkeeping", self.timing_raw):
            self._belief.versions(batch, self.global_steps)
            ranks = max(self.actor_rollout_wg._dispatch_info["actor"]) + 1
            metrics.update(self._belief.inspect(batch, self.global_steps, self.actor_rollout_wg, ranks))
        return super()._compute_old_log_prob(batch, metrics)

    def _update_actor(self, batch: Any, metrics: dict[str, Any]) -> Any:
        updated = super()._update_actor(batch, metrics)
        self._belief.judge(metrics, self.global_steps)
        return updated

    def _compute_advantage(self, batch: Any, metrics: dict[str, Any]) -> Any:
        metrics.update(self._step_rewards.settle(batch))
        return super()._compute_advantage(batch, metrics)

    def _log_rollout_data(self, batch: Any, timing_raw: dict[str, float], rollout_data_dir: str) -> None:
        super()._log_rollout_data(self._step_rewards.saved(batch), timing_raw, rollout_data_dir)

    def _dump_generations(self, *, reward_extra_infos_dict: dict[str, list[Any]], **rows: Any) -> None:
        keys = reward_extra_infos_dict.get("uid", [])
        super()._dump_generations(
            reward_extra_infos_dict=reward_extra_infos_dict | self._step_rewards.facts(keys), **rows
        )


@register_trainer("gr_vl")
class GuardTrainer(Guarding, PPOTrainerSync):
    """Sample, train, send the new weights: every answer comes from the weights that it trains."""

    mode = "sync"


@register_trainer("gr_vl_colocate_async")
class ColocatedGuardTrainer(Guarding, PPOTrainerColocateAsync):
    """The next answers are sampled in what time the trainer leaves to the same devices."""

    mode = "colocate_async"


@register_trainer("gr_vl_separate_async")
class SeparateGuardTrainer(Guarding, PPOTrainerSeparateAsync):
    """Devices of their own sample while the others train."""

    mode = "separate_async"
