"""From a recipe folder to one checked configuration a stage, in under a second and without importing torch.

A recipe is a folder of YAML, one file a stage, composed by Hydra over verl's own configuration. `model=tiny` picks the
overlay `<stage>/tiny.yaml`; `run=DIR`, `seed=N` and `config=NAME` are short for common keys; everything else is a Hydra
override.
"""

import copy
import difflib
import hashlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gr_vl.errors import ConfigError

_SHORT = {"run": "gr_vl.run", "seed": "gr_vl.seed"}
_RESERVED = ("model", "config", *_SHORT)


@dataclass(frozen=True)
class Stage:
    """One stage of one run, composed."""

    name: str
    """The YAML's name, which is also the folder of its output: sft, rl, rl_eco, ..."""
    config: DictConfig

    @property
    def kind(self) -> str:
        """What it does: one of `stages.KINDS`."""
        return str(self.config.gr_vl.kind)

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return Path(self.config.gr_vl.run)

    @property
    def folder(self) -> Path:
        """The folder of the stage's output."""
        return self.run / self.name

    @property
    def hash(self) -> str:
        """A digest of every setting."""
        return hashlib.sha256(OmegaConf.to_yaml(self.config, resolve=True).encode()).hexdigest()[:16]


def recipe_homes() -> list[Path]:
    """Where recipes are looked for by name."""
    package = Path(__file__).parent
    return [Path.cwd() / "recipes", package.parent / "recipes", package / "_recipes"]


def recipe_folder(recipe: str) -> Path:
    """The folder of a recipe, by path or by name. Raises ConfigError that lists the known ones."""
    for folder in [Path(recipe), *(home / recipe for home in recipe_homes())]:
        if (folder / "common.yaml").is_file():
            return folder.resolve()
    known = sorted({path.parent.name for home in recipe_homes() for path in home.glob("*/common.yaml")})
    raise ConfigError(f"RECIPE={recipe!r} is neither a folder with a common.yaml nor one of: {', '.join(known)}")


def models(recipe: str, stage: str) -> list[str]:
    """The overlays that a stage of a recipe has: its own, or those of the stage that it builds on."""
    folder = recipe_folder(recipe)
    return sorted(path.stem for path in (folder / _groups(folder, stage)[-1]).glob("*.yaml"))


def stage(recipe: str, default: str, overrides: Iterable[str] = ()) -> Stage:
    """Compose one stage. Raises ConfigError, one line, for an unknown key, a wrong type or a broken override."""
    short, rest = _split(overrides)
    name = short.get("config", default)
    folder = recipe_folder(recipe)
    if not (folder / f"{name}.yaml").is_file():
        raise ConfigError(f"config={name!r}: {folder.name} has no {name}.yaml; it has: {', '.join(_stages(folder))}")
    if "model" in short and short["model"] not in models(recipe, name):
        raise ConfigError(
            f"model={short['model']!r} is no overlay of {folder.name}/{name}; use: {', '.join(models(recipe, name))}"
        )
    picked = [f"{group}={short['model']}" for group in _groups(folder, name)] if "model" in short else []
    picked += [f"gr_vl.model={short['model']}"] if "model" in short else []
    common = [f"{_SHORT[key]}={value}" for key, value in short.items() if key in _SHORT]
    plain_config = _default(folder, name, tuple(picked))
    if not (common or rest):
        return Stage(name, copy.deepcopy(plain_config))
    config = _compose(folder, name, [*picked, *common, *rest], plain_config)
    _check_types(plain_config, config, [*common, *rest])
    return Stage(name, config)


def stage_of_kind(recipe: str, kind: str, overrides: Iterable[str] = ()) -> Stage:
    """Compose the stage that a command named `kind` runs. Raises ConfigError when config= names one of another kind."""
    found = stage(recipe, kind, overrides)
    if found.kind != kind:
        raise ConfigError(f"config={found.name}: this is a {found.kind} stage; use gr-vl {found.kind}")
    return found


def pipeline(recipe: str, overrides: Sequence[str] = ()) -> list[str]:
    """The names of a recipe's stages in order, for one model."""
    short, _ = _split([item for item in overrides if ":" not in item.split("=", 1)[0]])
    config = _compose(recipe_folder(recipe), "pipeline", [f"pipeline={short['model']}"] if "model" in short else [])
    return list(config.stages)


def by_stage(names: Iterable[str], overrides: Iterable[str]) -> dict[str, list[str]]:
    """The overrides of each stage: those of all, and its own, written STAGE:KEY=VALUE. ConfigError for another stage.

    >>> by_stage(["sft", "rl"], ["seed=2", "rl:gr_vl.clip.kind=cosine"])
    {'sft': ['seed=2'], 'rl': ['seed=2', 'gr_vl.clip.kind=cosine']}
    """
    own: dict[str, list[str]] = {name: [] for name in names}
    for item in overrides:
        name, colon, rest = item.partition(":")
        if not colon or "=" in name:
            for items in own.values():
                items.append(item)
        elif name in own:
            own[name].append(rest)
        else:
            raise ConfigError(f"{item}: {name!r} is no stage of this pipeline; it has: {', '.join(own)}")
    return own


def _groups(folder: Path, name: str) -> list[str]:
    """The stages whose overlays take part: the stage itself and those that it builds on."""
    defaults = OmegaConf.load(folder / f"{name}.yaml").defaults
    parents = [item for item in defaults if isinstance(item, str) and (folder / item).is_dir()]
    own = [name] if (folder / name).is_dir() else []
    return [*(group for parent in parents for group in _groups(folder, parent)), *own]


def _stages(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem not in ("common", "pipeline"))


def _split(overrides: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    short: dict[str, str] = {}
    rest: list[str] = []
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals and not item.startswith("~"):
            raise ConfigError(f"override {item!r} must have the form key=value, for example seed=2")
        if key in _RESERVED:
            short[key] = value
        else:
            rest.append(item)
    return short, rest


@cache
def _default(folder: Path, name: str, picked: tuple[str, ...]) -> DictConfig:
    """A stage without overrides; kept, since the variants of a grid start from the same one, which takes a while."""
    return _compose(folder, name, list(picked))


def _compose(folder: Path, name: str, overrides: list[str], known: DictConfig | None = None) -> DictConfig:
    spec = importlib.util.find_spec("verl")
    search = [f"hydra.searchpath=[{Path(spec.origin).parent / 'trainer' / 'config'}]"] if spec and spec.origin else []
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder), version_base=None):
            config: DictConfig = compose(name, overrides=[*search, *overrides])
        OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
        return config
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(folder, name, str(error), known)) from None


def _explain(folder: Path, name: str, message: str, known: DictConfig | None) -> str:
    unknown = re.search(r"Could not override '([^']+)'", message)
    if unknown and known is not None:
        close = difflib.get_close_matches(unknown[1], list(leaves(known)), n=1, cutoff=0.5)
        hint = f"; did you mean {close[0]}?" if close else "; put + before it to add a key"
        return f"{unknown[1]}: {folder.name}/{name} has no such key{hint}"
    if "sft_trainer_engine" in message or "ppo_trainer" in message:
        return f"{folder.name}/{name} builds on verl's configuration; install it: pip install 'gr-vl[train]'"
    return f"{folder.name}/{name}: {' '.join(message.split())}"


def plain(config: Any) -> dict[str, Any]:
    """A configuration as plain dictionaries, with every reference resolved."""
    container = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def leaves(config: Any) -> dict[str, Any]:
    """Every value of a configuration by its dotted key; lists count as values."""
    found: dict[str, Any] = {}

    def walk(node: Any, prefix: str) -> None:
        if isinstance(node, dict):
            for key, value in node.items():
                walk(value, f"{prefix}.{key}" if prefix else str(key))
        else:
            found[prefix] = node

    walk(plain(config), "")
    return found


def _check_types(default: DictConfig, config: DictConfig, overrides: Iterable[str]) -> None:
    before, after = leaves(default), leaves(config)
    for item in overrides:
        key = item.split("=", 1)[0].lstrip("+~")
        if key in after and any(name.startswith(f"{key}.") for name in before):
            raise ConfigError(f"{key}={after[key]!r} replaces a whole block; set one of its keys, {key}.NAME=VALUE")
        old, new = before.get(key), after.get(key)
        if old is None or new is None or old == "???" or type(old) is type(new):
            continue
        if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
            continue
        raise ConfigError(f"{key}={new!r} must be of type {type(old).__name__}, like its default {old!r}")
