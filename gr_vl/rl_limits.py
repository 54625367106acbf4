"""What the settings of online RL are held to: batches that divide, room for an answer, a trainer with our hooks."""

import math

from omegaconf import DictConfig

from gr_vl import limits
from gr_vl.errors import ConfigError


def batches(config: DictConfig) -> None:
    """Refuse batches that do not divide into mini-batches, micro-batches and devices."""
    slots, rollout, actor = limits.slots(config), config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    mini, micro = actor.ppo_mini_batch_size, actor.ppo_micro_batch_size_per_gpu
    batch, log_prob = config.data.train_batch_size, rollout.log_prob_micro_batch_size_per_gpu
    limits.positive(
        config,
        "gr_vl.saved_prompts",
        "data.train_batch_size",
        "data.max_prompt_length",
        "data.max_response_length",
        "actor_rollout_ref.actor.ppo_mini_batch_size",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu",
        "gr_vl.nonfinite_limit",
        "gr_vl.belief.every",
    )
    if rollout.n < 2:
        raise ConfigError(f"actor_rollout_ref.rollout.n={rollout.n} must be at least 2: GRPO compares answers; use 8")
    limits.divides(config, "data.train_batch_size", mini, "actor_rollout_ref.actor.ppo_mini_batch_size")
    if actor.use_dynamic_bsz:
        need = config.data.max_prompt_length + config.data.max_response_length
        key = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu"
        limits.holds(config, key, "data.max_prompt_length + data.max_response_length", need)
        limits.divides(
            config, "actor_rollout_ref.actor.ppo_mini_batch_size", slots // math.gcd(slots, rollout.n), "slots"
        )
    elif (mini * rollout.n) % (slots * micro):
        raise ConfigError(
            f"actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu={micro}: {mini} prompts x {rollout.n} answers must "
            f"be a multiple of {slots} slots x {micro}; use a divisor of {mini * rollout.n // slots}"
        )
    # In bypass mode the sampler's log-probabilities are taken as they are.
    recomputed = not (config.algorithm.rollout_correction.bypass_mode or rollout.log_prob_use_dynamic_bsz)
    if recomputed and (batch * rollout.n) % (slots * log_prob):
        raise ConfigError(
            f"actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu={log_prob}: {batch} prompts x {rollout.n} "
            f"answers must be a multiple of {slots} slots x {log_prob}; use a divisor of {batch * rollout.n // slots}"
        )
    limits.divides(
        config, "trainer.n_gpus_per_node", rollout.tensor_model_parallel_size, "rollout.tensor_model_parallel_size"
    )


MODES = ("gr_vl", "gr_vl_colocate_async", "gr_vl_separate_async")
"""verl's trainers with our hooks; the others know neither the clip schedule nor rewards of whole groups."""


def mode(config: DictConfig) -> None:
    """Refuse a trainer without our hooks, and one whose settings do not fit together."""
    name, rollout = config.trainer.v1.trainer_mode, config.actor_rollout_ref.rollout
    if name not in MODES:
        raise ConfigError(f"trainer.v1.trainer_mode={name!r} must be one of: {', '.join(MODES)}")
    if name != "gr_vl_separate_async":
        return
    if rollout.name == "transformers":
        raise ConfigError(
            "actor_rollout_ref.rollout.name='transformers' sends weights on its own machine only, not to a sampler on "
            f"devices of its own as trainer.v1.trainer_mode={name} has it; use vllm, or +rl_variant=colocate_async"
        )
    key, updates = "trainer.v1.separate_async.parameter_sync_step", config.trainer.v1.separate_async.parameter_sync_step
    needed = config.data.train_batch_size // config.actor_rollout_ref.actor.ppo_mini_batch_size
    if updates != needed:
        raise ConfigError(f"{key}={updates} must be data.train_batch_size / ppo_mini_batch_size; use {needed}")
    if config.actor_rollout_ref.actor.fsdp_config.param_offload:
        raise ConfigError(
            "actor_rollout_ref.actor.fsdp_config.param_offload=true would undo all but the last update of a step: "
            "verl keeps the weights before it in the same memory; use false"
        )
    limits.positive(config, "actor_rollout_ref.rollout.nnodes", "actor_rollout_ref.rollout.n_gpus_per_node")
    if rollout.checkpoint_engine.backend == "naive":
        raise ConfigError(
            "actor_rollout_ref.rollout.checkpoint_engine.backend='naive' cannot send weights to other devices; use nccl"
        )


def room(config: DictConfig) -> None:
    """Refuse a context that is shorter than a prompt and its answer."""
    rollout = config.actor_rollout_ref.rollout
    limits.positive(config, "actor_rollout_ref.rollout.prompt_length", "actor_rollout_ref.rollout.response_length")
    need = rollout.prompt_length + rollout.response_length
    if rollout.max_model_len is not None and rollout.max_model_len < need:
        raise ConfigError(
            f"actor_rollout_ref.rollout.max_model_len={rollout.max_model_len} is less than prompt_length + "
            f"response_length = {need}; raise it to {need}"
        )


def generated(config: DictConfig) -> tuple[int, str]:
    """Tokens of a prompt and its answer where answers are drawn, and the settings that say so."""
    rollout, key = config.actor_rollout_ref.rollout, "actor_rollout_ref.rollout"
    return rollout.prompt_length + rollout.response_length, f"{key}.prompt_length + {key}.response_length"
