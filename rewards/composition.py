"""From the recipe's block `gr_vl.reward` to the parts of a reward.

preset: paper          # a file in rewards/presets/, or null
terms:                 # merged over the preset's: NAME: {weight, **parameters}; null turns a term off
gate: tags             # sections, tags, blocks, result or none
tasks: {prompt: 1}     # weights of the tasks; 1 where nothing is said
scale: 1.0             # the sum of the terms times this,
clamp: [-10, 0]        # then clamped
budget: 512            # reasoning tokens that count as l = 1
time_limit: 1.0        # seconds an answer may take to score
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from gr_vl.errors import ConfigError
from rewards.terms import Weighted

_PRESETS = Path(__file__).parent / "presets"
_KEYS = ("preset", "terms", "gate", "tasks", "scale", "clamp", "budget", "time_limit")


def preset_names() -> list[str]:
    """The rewards that can be selected by name."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def compose(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a SafetyReward. ConfigError lists what is known where a name is not."""
    for key in spec:
        if key not in _KEYS:
            raise ConfigError(f"gr_vl.reward.{key} is unknown; a reward takes: {', '.join(_KEYS)}")
    preset = _preset(spec.get("preset"))
    own = {key: value for key, value in spec.items() if value is not None}
    merged = {**preset, **own}
    merged.pop("preset", None)
    merged["terms"] = tuple(_terms(preset.get("terms", {}), _block(own, "terms")))
    if "tasks" in merged:
        merged["tasks"] = _tasks(_block(merged, "tasks"))
    if "clamp" in merged:
        merged["clamp"] = tuple(merged["clamp"]) if isinstance(merged["clamp"], list | tuple) else (merged["clamp"],)
    return merged


@cache
def _preset(name: str | None) -> Mapping[str, Any]:
    if name is None:
        return {}
    if name not in preset_names():
        raise ConfigError(f"gr_vl.reward.preset={name!r} is unknown; use one of: {', '.join(preset_names())}")
    container = OmegaConf.to_container(OmegaConf.load(_PRESETS / f"{name}.yaml"))
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _block(spec: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = spec.get(key, {})
    if not isinstance(value, Mapping):
        raise ConfigError(f"gr_vl.reward.{key}={value!r} must be a block of names; write {key}: {{NAME: ...}}")
    return value


def _terms(preset: Mapping[str, Any], own: Mapping[str, Any]) -> list[Weighted]:
    merged = {**preset, **own}
    for name, value in own.items():
        if value is not None and not isinstance(value, Mapping):
            raise ConfigError(f"gr_vl.reward.terms.{name}={value!r} must be a block of numbers, or null for off")
    terms = [
        Weighted(name, {**(preset.get(name) or {}), **(own.get(name) or {})})
        for name in merged
        if merged[name] is not None
    ]
    if not terms:
        raise ConfigError(f"gr_vl.reward has no terms; name a preset, one of: {', '.join(preset_names())}")
    return terms


def _tasks(weights: Mapping[str, Any]) -> dict[str, float]:
    for name, weight in weights.items():
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise ConfigError(f"gr_vl.reward.tasks.{name}={weight!r} must be a number of at least 0")
    return {name: float(weight) for name, weight in weights.items()}
