"""Where a stage hands over to verl."""

from typing import Any

from omegaconf import DictConfig
from verl.trainer.constants_ppo import get_ppo_ray_runtime_env
from verl.trainer.main_ppo import TaskRunnerV1, run_ppo
from verl.trainer.ppo.utils import need_critic, need_reference_policy
from verl.utils.config import validate_config
from verl.workers.rollout.llm_server import LLMServerManager

from gr_vl.verl_ext import patches
from gr_vl.verl_ext.sft_trainer import GuardSFT


def runtime_env() -> dict[str, Any]:
    """verl's own runtime environment for Ray workers."""
    environment: dict[str, Any] = get_ppo_ray_runtime_env()
    return environment


def train_sft(config: DictConfig) -> None:
    """verl's SFT trainer under Ray, to its last step; resumes from its newest checkpoint."""
    patches.loader_workers(config.data.num_workers)
    GuardSFT(config).fit()


def train_dpo(config: DictConfig) -> None:
    """verl's SFT trainer with pairs for rows, to its last step; resumes from its newest checkpoint."""
    from gr_vl.verl_ext.preference import PreferenceTrainer

    patches.loader_workers(config.data.num_workers)
    PreferenceTrainer(config).fit()


def train_rl(config: DictConfig) -> None:
    """verl's PPO trainer under Ray, to its last step; resumes from its newest checkpoint."""
    validate_config(config, use_reference_policy=need_reference_policy(config), use_critic=need_critic(config))
    run_ppo(config, TaskRunnerV1)


def rollout_servers(config: DictConfig) -> LLMServerManager:
    """Rollout servers of their own, without a trainer."""
    return LLMServerManager.create(config)
