"""What can be refused before anything is loaded: batch arithmetic, schedules, rewards, missing files."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gr_vl import dialects, limits, memory, rl_limits
from gr_vl.augment import concat, mining, pairs, preference
from gr_vl.clipping import ClipSchedule
from gr_vl.compose import Stage, leaves, plain
from gr_vl.errors import ConfigError, DataError
from gr_vl.evaluation import published
from gr_vl.evaluation.metrics.confusion import failure_rule
from rewards import SafetyReward

Facts = dict[str, Any]
"""What a check learned, for people to read: steps, batches, the clip curve."""


def check(stage: Stage, *, files: bool = True) -> Facts:
    """Check one composed stage. Raises ConfigError or DataError; `files=False` leaves out what earlier stages make."""
    config = stage.config
    if config.gr_vl.device not in ("cpu", "cuda"):
        raise ConfigError(f"gr_vl.device={config.gr_vl.device!r} is unknown; use one of: cpu, cuda")
    try:
        dialects.get(config.gr_vl.dialect)
        _pixels(config)
        limits.finite(leaves(config))
        facts = _CHECKS[stage.kind](config, files)
    except (KeyError, OmegaConfBaseException) as error:  # a key that ~KEY took away, or a block without what it needs
        why = str(error).splitlines()[0]
        raise ConfigError(f"{stage.name}: a setting is missing ({why}); give it a value, or leave out ~KEY") from None
    if stage.kind in _ON_DEVICES and (peak := memory.predict(config)):
        facts["GB of a GPU"] = f"{peak.gpu:.0f} of {memory.GPU_GB:.0f}"
        facts["GB of a host"] = f"{peak.host:.0f}"
    return facts


def _pixels(config: DictConfig) -> None:
    limits.positive(config, *limits.PIXELS)
    least, most = (OmegaConf.select(config, key) for key in limits.PIXELS)
    if least is not None and most is not None and least > most:
        raise ConfigError(f"gr_vl.image_pixels.min={least} exceeds gr_vl.image_pixels.max={most}; lower it")


_ON_DEVICES = ("sft", "mine", "rl", "eval")
"""Kinds of stages that hold a model on the recipe's devices."""


def _data(config: DictConfig, files: bool) -> Facts:
    data = config.gr_vl.data
    known = ("demo", "demo_policy", "xstest", "parquet")
    if data.source not in known:
        raise ConfigError(f"gr_vl.data.source={data.source!r} is unknown; use one of: {', '.join(known)}")
    limits.positive(config, "gr_vl.data.train", "gr_vl.data.validation", "gr_vl.data.test")
    if data.source == "demo_policy" and not 0 <= data.policy_shift <= 1:
        raise ConfigError(f"gr_vl.data.policy_shift={data.policy_shift} must lie in [0, 1]; use 0.8")
    if data.source in ("xstest", "parquet") and files and not Path(str(data.folder)).is_dir():
        raise DataError(f"gr_vl.data.folder={data.folder}: no such folder; source={data.source} reads its files there")
    return {"source": data.source}


def _base(config: DictConfig, files: bool) -> Facts:
    limits.rows(config.gr_vl.base.corpus, files)
    return {}


def _steps(config: DictConfig, rows: int | None) -> int | None:
    limits.positive(config, "trainer.total_epochs", "trainer.total_training_steps")
    if config.trainer.resume_mode != "auto":
        raise ConfigError(
            f"trainer.resume_mode={config.trainer.resume_mode!r}: a stage resumes whenever it can; use auto, "
            f"and remove {config.trainer.default_local_dir} to start again"
        )
    if rows is None:
        total = config.trainer.total_training_steps
        return int(total) if total else None
    return last_step(config, rows)


def last_step(config: DictConfig, rows: int) -> int:
    """The step at which training on `rows` samples ends. Raises ConfigError when they make no batch."""
    total = config.trainer.total_training_steps
    batch = config.data.train_batch_size
    available = rows // batch * config.trainer.total_epochs
    if not available:
        raise ConfigError(
            f"data.train_batch_size={batch} exceeds the {rows} rows of {config.data.train_files}; lower it"
        )
    return min(int(total), available) if total else int(available)


def _sft(config: DictConfig, files: bool) -> Facts:
    slots = limits.slots(config)
    limits.positive(
        config,
        "data.train_batch_size",
        "data.micro_batch_size_per_gpu",
        "data.max_length",
        "gr_vl.nonfinite_limit",
    )
    if config.data.use_dynamic_bsz:
        limits.divides(config, "data.train_batch_size", slots, "slots")
        limits.holds(config, "data.max_token_len_per_gpu", "data.max_length", config.data.max_length)
    else:
        limits.divides(
            config, "data.train_batch_size", slots * config.data.micro_batch_size_per_gpu, "slots x micro-batch"
        )
    limits.model(config, "model.path", files, config.data.max_length, "data.max_length")
    limits.rows(config.data.val_files, files)
    steps = _steps(config, limits.rows(config.data.train_files, files))
    batch = config.data.train_batch_size
    return {"steps": steps, "sequences a step": batch, "a slot": batch // slots, "slots": slots}


def _subset(config: DictConfig, files: bool) -> Facts:
    limits.rows(config.gr_vl.subset.corpus, files)
    return {"subsets": list(config.gr_vl.subset.without)}


def _pairs(config: DictConfig, files: bool) -> Facts:
    settings, dialect = config.gr_vl.pairs, dialects.get(config.gr_vl.dialect)
    preference.pairs([], [], dialect, choice=settings.choice, seed=0)
    preference.merge([], [], rule=settings.get("merge", "released"))
    preference.weighted([], settings.gamma)
    preference.split([], settings.held_out)
    limits.rows(settings.corpus, files)
    return {"choice": settings.choice, "gamma": settings.gamma, "guards": 1 + len(settings.reduced)}


def _dpo(config: DictConfig, files: bool) -> Facts:
    slots, micro = limits.slots(config), "data.micro_batch_size_per_gpu"
    limits.positive(config, "data.train_batch_size", micro, "data.max_length")
    limits.divides(config, micro, 2, "an answer and its rival stay together")
    limits.divides(
        config,
        "data.train_batch_size",
        slots * (config.data.micro_batch_size_per_gpu // 2),
        "slots x pairs of a micro-batch",
    )
    for key in ("trainer.balance_batch", "data.use_dynamic_bsz"):
        if OmegaConf.select(config, key):
            raise ConfigError(f"{key}=true would part an answer from its rival; use false")
    for key in ("gr_vl.dpo.beta", "gr_vl.dpo.sft_weight"):
        if OmegaConf.select(config, key) < 0:
            raise ConfigError(f"{key}={OmegaConf.select(config, key)} must be at least 0; the paper's are 0.01 and 2")
    limits.model(config, "model.path", files, config.data.max_length, "data.max_length")
    if config.data.val_files is not None:
        limits.rows(config.data.val_files, files)
    steps = _steps(config, limits.rows(config.data.train_files, files))
    return {"steps": steps, "pairs a step": config.data.train_batch_size, "slots": slots}


def _rl(config: DictConfig, files: bool) -> Facts:
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
    settings = plain(config.gr_vl)
    SafetyReward.from_config(settings["reward"], settings["dialect"])
    schedule = ClipSchedule(**settings["clip"])
    need = config.data.max_prompt_length + config.data.max_response_length
    limits.model(config, "gr_vl.start_model", files, need, "data.max_prompt_length + data.max_response_length")
    limits.rows(config.data.val_files, files)
    steps = _steps(config, limits.rows(config.data.train_files, files))
    return {
        "steps": steps,
        "answers a step": config.data.train_batch_size * rollout.n,
        "updates a step": config.data.train_batch_size // mini,
        "answers a slot an update": mini * rollout.n // slots,
        "clip": schedule,
        "reward": settings["reward"],
        "slots": slots,
    }


def _generation(config: DictConfig, files: bool) -> Facts:
    limits.positive(config, "gr_vl.generation.samples", "gr_vl.generation.answers")
    generation = config.gr_vl.generation
    if not 0 < generation.top_p <= 1:
        raise ConfigError(f"gr_vl.generation.top_p={generation.top_p} must lie in (0, 1]; use 1 to keep every token")
    if generation.temperature < 0:
        raise ConfigError(f"gr_vl.generation.temperature={generation.temperature} must be at least 0; use 0 for greedy")
    rl_limits.room(config)
    tensor = "actor_rollout_ref.rollout.tensor_model_parallel_size"
    limits.divides(config, "actor_rollout_ref.rollout.n_gpus_per_node", OmegaConf.select(config, tensor), tensor)
    rows = limits.rows(generation.corpus, files)
    samples = min(generation.samples or rows, rows) if rows is not None else generation.samples
    return {"samples": samples, "answers a sample": generation.answers}


def _mine(config: DictConfig, files: bool) -> Facts:
    mining.keep(config.gr_vl.mine.rule, 0, 1)
    limits.positive(config, "gr_vl.mine.keep")
    if not 0 <= config.gr_vl.mine.easy < 1:
        easy = config.gr_vl.mine.easy
        raise ConfigError(f"gr_vl.mine.easy={easy} must be a share in [0, 1); use 0 for hard samples alone")
    facts = _generation(config, files)
    limits.model(config, "gr_vl.generation.model", files, *rl_limits.generated(config))
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
    limits.positive(config, "gr_vl.concat.max_side", "gr_vl.concat.workers")
    if config.gr_vl.concat.cache_gb <= 0:
        room = config.gr_vl.concat.cache_gb
        raise ConfigError(f"gr_vl.concat.cache_gb={room} must be positive; use gr_vl.concat.cache=null for no cache")
    limits.rows(config.gr_vl.concat.corpus, files)
    return {"share of pairs": share}


def _eval(config: DictConfig, files: bool) -> Facts:
    names = config.gr_vl.eval.get("benchmarks")
    if names:
        published.check(names, config.gr_vl.eval.get("downloads"), files=files)
    # The corpus of benchmarks is written by the stage itself.
    facts = _generation(config, files and not names)
    for name in config.gr_vl.eval.models:
        limits.model(config, f"gr_vl.eval.models.{name}", files, *rl_limits.generated(config))
    rule = failure_rule(config.gr_vl.eval.get("unparsable", "wrong"))
    return facts | {"models": list(config.gr_vl.eval.models), "unparsable": rule}


_CHECKS: dict[str, Callable[[DictConfig, bool], Facts]] = {
    "data": _data,
    "base": _base,
    "sft": _sft,
    "subset": _subset,
    "mine": _mine,
    "pairs": _pairs,
    "dpo": _dpo,
    "concat": _concat,
    "rl": _rl,
    "eval": _eval,
}
