"""Which extra has what a command or a stage imports: asked before it is imported, so that a mistake is one line."""

import importlib.util

from omegaconf import DictConfig, OmegaConf

from gr_vl.errors import ConfigError

_HOW = {"flash-attn": " with --no-build-isolation, after gr-vl[gpu]"}
_FLASH = "flash_attention_2"


def need(what: str, *modules: str, extra: str) -> None:
    """Raise ConfigError with the extra to install when a module of `what` is not there. Imports none of them."""
    if missing := [name for name in modules if importlib.util.find_spec(name) is None]:
        raise ConfigError(f"{what} needs {', '.join(missing)}: install gr-vl[{extra}]{_HOW.get(extra, '')}")


def of_stage(kind: str, config: DictConfig) -> None:
    """Raise ConfigError when a stage's settings name an engine, a kernel or a transport that is not installed here."""
    if kind == "base":
        need("the stage base", "torch", "tokenizers", "transformers", extra="train")
    if config.gr_vl.device != "cuda":
        return
    model = "actor_rollout_ref.model" if kind == "rl" else "model"
    # What verl takes where a recipe says nothing, and the only kernel that it packs rows with.
    attention = OmegaConf.select(config, f"{model}.override_config.attn_implementation") or _FLASH
    if kind in ("sft", "dpo", "rl") and attention == _FLASH:
        need(f"{model}.override_config.attn_implementation={attention!r}", "flash_attn", extra="flash-attn")
    rollout = OmegaConf.select(config, "actor_rollout_ref.rollout")
    if kind in ("mine", "eval", "rl") and rollout.name == "vllm":
        need("actor_rollout_ref.rollout.name='vllm'", "vllm", extra="gpu")
    if kind == "rl" and rollout.checkpoint_engine.backend == "nccl":
        need("actor_rollout_ref.rollout.checkpoint_engine.backend='nccl'", "cupy", extra="gpu")
