"""What can be refused before anything is loaded: batch arithmetic, schedules, rewards, missing files."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gr_vl import dialects, memory
from gr_vl.augment import concat, mining, pairs
from gr_vl.clipping import ClipSchedule
from gr_vl.compose import Stage, plain
from gr_vl.data import io
from gr_vl.errors import ConfigError, DataError
from rewards import SafetyReward

Facts = dict[str, Any]
"""What a check learned, for people to read: steps, batches, the clip curve."""


def check(stage: Stage, *, files: bool = True) -> Facts:
    """Check one composed stage. Raises ConfigError or DataError; `files=False` leaves out what earlier stages make."""
    config = stage.config
    if config.gr_vl.device not in ("cpu", "cuda"):
        raise ConfigError(f"gr_vl.device={config.gr_vl.device!r} is unknown; use one of: cpu, cuda")
    dialects.get(config.gr_vl.dialect)
    facts = _CHECKS[stage.kind](config, files)
    if stage.kind in _ON_DEVICES and (peak := memory.predict(config)):
        facts["GB of a GPU"] = f"{peak.gpu:.0f} of {memory.GPU_GB:.0f}"
        facts["GB of a host"] = f"{peak.host:.0f}"
    return facts


_ON_DEVICES = ("sft", "mine", "rl", "eval")
"""Kinds of stages that hold a model on the recipe's devices."""


_OPTIONAL = ("trainer.total_training_steps", "gr_vl.generation.samples", "gr_vl.mine.keep", "gr_vl.saved_prompts")
"""Counts that may be null: no limit."""


def _positive(config: DictConfig, *keys: str) -> None:
    for key in keys:
        value = OmegaConf.select(config, key)
        if value is None and key in _OPTIONAL:
            continue
        if value is None or value < 1:
            raise ConfigError(f"{key}={'null' if value is None else value} must be at least 1; use 1 or more")


def _divides(config: DictConfig, key: str, by: int, why: str) -> None:
    value = OmegaConf.select(config, key)
    if value % by:
        raise ConfigError(f"{key}={value} must be a multiple of {by} ({why}); use {max(value // by, 1) * by}")


def _rows(path: str, files: bool) -> int | None:
    return io.count(Path(path)) if files else None


def _model(path: str, files: bool) -> None:
    """A path with a separator at its start or an existing run folder is local; `owner/name` is a hub name."""
    local = path.startswith(("/", ".", "runs/")) or path.count("/") > 1
    if files and local and not (Path(path) / "config.json").is_file():
        raise DataError(f"{path}: no model there (config.json is missing); run the stage that makes it first")


def _data(config: DictConfig, files: bool) -> Facts:
    data = config.gr_vl.data
    known = ("demo", "xstest", "parquet")
    if data.source not in known:
        raise ConfigError(f"gr_vl.data.source={data.source!r} is unknown; use one of: {', '.join(known)}")
    _positive(config, "gr_vl.data.train", "gr_vl.data.validation", "gr_vl.data.test")
    if data.source != "demo" and files and not Path(str(data.folder)).is_dir():
        raise DataError(f"gr_vl.data.folder={data.folder}: no such folder; source={data.source} reads its files there")
    return {"source": data.source}


def _base(config: DictConfig, files: bool) -> Facts:
    _rows(config.gr_vl.base.corpus, files)
    return {}


def _slots(config: DictConfig) -> int:
    _positive(config, "trainer.n_gpus_per_node", "trainer.nnodes")
    return int(config.trainer.n_gpus_per_node * config.trainer.nnodes)


def _steps(config: DictConfig, rows: int | None) -> int | None:
    _positive(config, "trainer.total_epochs", "trainer.total_training_steps")
    total = config.trainer.total_training_steps
    if rows is None:
        return int(total) if total else None
    batch = config.data.train_batch_size
    available = rows // batch * config.trainer.total_epochs
    if not available:
        raise ConfigError(
            f"data.train_batch_size={batch} exceeds the {rows} rows of {config.data.train_files}; lower it"
        )
    return min(int(total), available) if total else int(available)


def _sft(config: DictConfig, files: bool) -> Facts:
    slots = _slots(config)
    _positive(config, "data.train_batch_size", "data.micro_batch_size_per_gpu", "data.max_length")
    if config.data.use_dynamic_bsz:
        _divides(config, "data.train_batch_size", slots, "slots")
        _holds(config, "data.max_token_len_per_gpu", "data.max_length", config.data.max_length)
    else:
        _divides(config, "data.train_batch_size", slots * config.data.micro_batch_size_per_gpu, "slots x micro-batch")
    _model(config.model.path, files)
    _rows(config.data.val_files, files)
    steps = _steps(config, _rows(config.data.train_files, files))
    batch = config.data.train_batch_size
    return {"steps": steps, "sequences a step": batch, "a slot": batch // slots, "slots": slots}


def _holds(config: DictConfig, key: str, need: str, tokens: int) -> None:
    """A micro-batch of whole sequences must hold the longest one."""
    value = OmegaConf.select(config, key)
    if value < tokens:
        raise ConfigError(f"{key}={value} is less than {need} = {tokens}, one sequence; raise it to {tokens}")


def _rl(config: DictConfig, files: bool) -> Facts:
    slots, rollout, actor = _slots(config), config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    mini = actor.ppo_mini_batch_size
    _positive(
        config,
        "gr_vl.saved_prompts",
        "data.train_batch_size",
        "actor_rollout_ref.actor.ppo_mini_batch_size",
        "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu",
        "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu",
    )
    if rollout.n < 2:
        raise ConfigError(f"actor_rollout_ref.rollout.n={rollout.n} must be at least 2: GRPO compares answers; use 8")
    _divides(config, "data.train_batch_size", mini, "actor_rollout_ref.actor.ppo_mini_batch_size")
    _micro_batches(config, slots)
    _divides(
        config, "trainer.n_gpus_per_node", rollout.tensor_model_parallel_size, "rollout.tensor_model_parallel_size"
    )
    _room(config)
    _policy(config)
    settings = plain(config.gr_vl)
    SafetyReward.from_config(settings["reward"], settings["dialect"])
    schedule = ClipSchedule(**settings["clip"])
    _model(config.gr_vl.start_model, files)
    _rows(config.data.val_files, files)
    steps = _steps(config, _rows(config.data.train_files, files))
    return {
        "steps": steps,
        "answers a step": config.data.train_batch_size * rollout.n,
        "updates a step": config.data.train_batch_size // mini,
        "answers a slot an update": mini * rollout.n // slots,
        "clip": schedule,
        "reward": settings["reward"],
        "slots": slots,
    }


def _micro_batches(config: DictConfig, slots: int) -> None:
    rollout, actor = config.actor_rollout_ref.rollout, config.actor_rollout_ref.actor
    mini, micro = actor.ppo_mini_batch_size, actor.ppo_micro_batch_size_per_gpu
    batch, log_prob = config.data.train_batch_size, rollout.log_prob_micro_batch_size_per_gpu
    if actor.use_dynamic_bsz:
        room = config.data.max_prompt_length + config.data.max_response_length
        key = "actor_rollout_ref.actor.ppo_max_token_len_per_gpu"
        _holds(config, key, "data.max_prompt_length + data.max_response_length", room)
        _divides(config, "actor_rollout_ref.actor.ppo_mini_batch_size", slots // math.gcd(slots, rollout.n), "slots")
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


def _policy(config: DictConfig) -> None:
    actor = config.actor_rollout_ref.actor
    if config.trainer.v1.trainer_mode != "gr_vl":
        raise ConfigError(
            f"trainer.v1.trainer_mode={config.trainer.v1.trainer_mode!r} knows neither the clip schedule nor rewards "
            "of whole groups; use gr_vl"
        )
    if actor.use_kl_loss and not actor.kl_loss_coef:
        raise ConfigError(
            "actor_rollout_ref.actor.kl_loss_coef=0 with use_kl_loss=true loads a reference model for nothing; "
            "set actor_rollout_ref.actor.use_kl_loss=false"
        )


def _room(config: DictConfig) -> None:
    rollout = config.actor_rollout_ref.rollout
    need = rollout.prompt_length + rollout.response_length
    if rollout.max_model_len is not None and rollout.max_model_len < need:
        raise ConfigError(
            f"actor_rollout_ref.rollout.max_model_len={rollout.max_model_len} is less than prompt_length + "
            f"response_length = {need}; raise it to {need}"
        )


def _generation(config: DictConfig, files: bool) -> Facts:
    _positive(config, "gr_vl.generation.samples", "gr_vl.generation.answers")
    generation = config.gr_vl.generation
    if not 0 < generation.top_p <= 1:
        raise ConfigError(f"gr_vl.generation.top_p={generation.top_p} must lie in (0, 1]; use 1 to keep every token")
    if generation.temperature < 0:
        raise ConfigError(f"gr_vl.generation.temperature={generation.temperature} must be at least 0; use 0 for greedy")
    _room(config)
    tensor = "actor_rollout_ref.rollout.tensor_model_parallel_size"
    _divides(config, "actor_rollout_ref.rollout.n_gpus_per_node", OmegaConf.select(config, tensor), tensor)
    rows = _rows(generation.corpus, files)
    samples = min(generation.samples or rows, rows) if rows is not None else generation.samples
    return {"samples": samples, "answers a sample": generation.answers}


def _mine(config: DictConfig, files: bool) -> Facts:
    mining.keep(config.gr_vl.mine.rule, 0, 1)
    _positive(config, "gr_vl.mine.keep")
    facts = _generation(config, files)
    _model(config.gr_vl.generation.model, files)
    return facts | {"rule": config.gr_vl.mine.rule}


def _concat(config: DictConfig, files: bool) -> Facts:
    share = config.gr_vl.concat.share
    if not 0 <= share < 1:
        raise ConfigError(f"gr_vl.concat.share={share} must lie in [0, 1); use the paper's 0.2")
    if config.gr_vl.concat.text_mode not in concat.TEXT_MODES:
        known = ", ".join(concat.TEXT_MODES)
        raise ConfigError(f"gr_vl.concat.text_mode={config.gr_vl.concat.text_mode!r} is unknown; use one of: {known}")
    if config.gr_vl.concat.balance not in pairs.CHOICES:
        known = ", ".join(pairs.CHOICES)
        raise ConfigError(f"gr_vl.concat.balance={config.gr_vl.concat.balance!r} is unknown; use one of: {known}")
    _positive(config, "gr_vl.concat.max_side", "gr_vl.concat.workers")
    if config.gr_vl.concat.cache_gb <= 0:
        room = config.gr_vl.concat.cache_gb
        raise ConfigError(f"gr_vl.concat.cache_gb={room} must be positive; use gr_vl.concat.cache=null for no cache")
    _rows(config.gr_vl.concat.corpus, files)
    return {"share of pairs": share}


def _eval(config: DictConfig, files: bool) -> Facts:
    facts = _generation(config, files)
    for path in config.gr_vl.eval.models.values():
        _model(path, files)
    return facts | {"models": list(config.gr_vl.eval.models)}


_CHECKS: dict[str, Callable[[DictConfig, bool], Facts]] = {
    "data": _data,
    "base": _base,
    "sft": _sft,
    "mine": _mine,
    "concat": _concat,
    "rl": _rl,
    "eval": _eval,
}
