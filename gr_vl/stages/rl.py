"""Online RL: GRPO on verl's V1 trainer under Ray, with our trainer, reward manager and agent loop chosen by name."""

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import limits, memory, rl_limits
from gr_vl.clipping import ClipSchedule
from gr_vl.errors import ConfigError
from gr_vl.stages import Facts, Kind, lengths, processing, training
from rewards import SafetyReward


@dataclass
class Clip:
    """The schedule's settings, as `ClipSchedule` takes and checks them."""

    kind: str
    epsilon: float
    final: float = 0.0
    epsilon_high: Any = None


@dataclass
class Settings:
    """Of this kind alone; the rest is verl's."""

    out: str
    start_model: Any
    clip: Clip
    reward: dict[str, Any]


def check(settings: Settings, config: DictConfig, files: bool) -> Facts:
    """Refuse batches that do not divide, rewards and schedules that cannot be, and files that are not there."""
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    slots, mini = limits.slots(config), actor.ppo_mini_batch_size
    rl_limits.batches(config)
    rl_limits.room(config)
    rl_limits.mode(config)
    if actor.use_kl_loss and not actor.kl_loss_coef:
        raise ConfigError(
            "actor_rollout_ref.actor.kl_loss_coef=0 with use_kl_loss=true loads a reference model for nothing; "
            "set actor_rollout_ref.actor.use_kl_loss=false"
        )
    SafetyReward.from_config(settings.reward, config.gr_vl.dialect)
    schedule = ClipSchedule(**asdict(settings.clip))
    need = config.data.max_prompt_length + config.data.max_response_length
    limits.model(config, "gr_vl.start_model", files, need, "data.max_prompt_length + data.max_response_length")
    limits.rows(config.data.val_files, files)
    steps = limits.steps(config, limits.rows(config.data.train_files, files))
    return {
        "steps": steps,
        "answers a step": config.data.train_batch_size * rollout.n,
        "updates a step": config.data.train_batch_size // mini,
        "answers a slot an update": mini * rollout.n // slots,
        "clip": schedule,
        "reward": settings.reward,
        "slots": slots,
    }


def run(config: DictConfig) -> dict[str, Any]:
    """Train, then publish the last checkpoint as a model folder."""
    folder = Path(config.trainer.default_local_dir).parent
    encoder = processing.prepare(config, config.actor_rollout_ref.model, folder)
    kept = lengths.fit(
        Path(config.data.train_files),
        folder / "train",
        encoder,
        config.data.max_prompt_length,
        "data.max_prompt_length",
        targets=False,
        least=config.data.train_batch_size,
    )
    config.data.train_files = str(kept.path)
    steps = steps_of(config, kept)
    training.train(config, kept.rows, _fit)
    return {"rows": kept.rows, "quarantined": kept.quarantined} | steps


def steps_of(config: DictConfig, kept: lengths.Kept) -> dict[str, int]:
    """The steps of the run, and those of the whole corpus where rows that were left out cost some, with a warning."""
    steps = limits.last_step(config, kept.rows)
    composed = limits.last_step(config, kept.rows + sum(kept.quarantined.values()))
    if steps == composed:
        return {"steps": steps}
    sys.stderr.write(
        f"warning: {sum(kept.quarantined.values())} rows are left out (quarantine.jsonl), so that this run, and with "
        f"it the clip schedule, has {steps} steps and not {composed}; raise data.max_prompt_length="
        f"{config.data.max_prompt_length} or add rows\n"
    )
    return {"steps": steps, "steps_of_all_rows": composed}


def _fit(config: DictConfig) -> None:
    training.on_ray(config)
    from gr_vl.verl_ext import entry

    entry.train_rl(config)


KIND = Kind(
    name="rl",
    help="Online RL: GRPO, shrinking clip range, length-aware safety reward (config=rl_eco for Eco).",
    order=8,
    settings=Settings,
    check=check,
    run=run,
    title="RL",
    ray=True,
    memory=memory.rl,
    panels={
        "Reward": ("critic/score/mean",),
        "Answer length (tokens)": ("response_length/mean",),
        "Clip range": ("actor/clip_range",),
        "Entropy": ("actor/entropy", "actor/entropy_loss"),
        "Policy loss": ("actor/pg_loss",),
        "Clip fraction": ("actor/pg_clipfrac",),
        "Gradient norm": ("actor/grad_norm",),
        "Reward term: accuracy": ("reward/accuracy",),
        "Reward term: format": ("reward/format",),
        "Unparsable answers (share)": ("reward/parse_failure",),
        "Sampler against trainer (nats a token)": ("belief/log_prob_gap_mean",),
        "Effect of exchanged pictures (nats)": ("belief/picture_effect",),
    },
)
