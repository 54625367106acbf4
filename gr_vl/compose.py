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
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from gr_vl import overrides as written
from gr_vl.errors import ConfigError


@dataclass(frozen=True)
class Stage:
    """One stage of one run, composed."""

    name: str
    """The YAML's name, which is also the folder of its output: sft, rl, rl_eco, ..."""
    config: DictConfig
    recipe: Path | None = None
    """The folder that it was composed from."""

    @property
    def kind(self) -> str:
        """What it does: one of `stages.kinds()`."""
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
    short, rest = written.split(overrides)
    name = short.get("config", default)
    folder = recipe_folder(recipe)
    if name not in _stages(folder):
        raise ConfigError(f"config={name!r}: {folder.name} has no {name}.yaml; it has: {', '.join(_stages(folder))}")
    _load(folder / f"{name}.yaml")
    if "model" in short and short["model"] not in models(recipe, name):
        raise ConfigError(
            f"model={short['model']!r} is no overlay of {folder.name}/{name}; use: {', '.join(models(recipe, name))}"
        )
    groups = [*_groups(folder, name), "gr_vl.model"] if "model" in short else []
    picked = [f"{group}={written.quoted(short['model'])}" for group in groups]
    plain_config, before = _default(folder, name, tuple(picked))
    common = [f"{written.SHORT[key]}={value}" for key, value in short.items() if key in written.SHORT]
    if not (common or rest):
        return Stage(name, copy.deepcopy(plain_config), folder)
    changes = [written.for_hydra(item, before) for item in (*common, *rest)]
    config, after = _compose(folder, name, [*picked, *changes], before)
    _check_types(before, after, changes)
    return Stage(name, config, folder)


def stage_of_kind(recipe: str, kind: str, overrides: Iterable[str] = ()) -> Stage:
    """Compose the stage that a command named `kind` runs. Raises ConfigError when config= names one of another kind."""
    found = stage(recipe, kind, overrides)
    if found.kind != kind:
        raise ConfigError(f"config={found.name}: this is a {found.kind} stage; use gr-vl {found.kind}")
    return found


def pipeline(recipe: str, overrides: Sequence[str] = ()) -> list[str]:
    """The names of a recipe's stages in order, for one model."""
    short, _ = written.split([item for item in overrides if ":" not in item.split("=", 1)[0]])
    config, _ = _compose(recipe_folder(recipe), "pipeline", [f"pipeline={short['model']}"] if "model" in short else [])
    return list(config.stages)


def kind_of(folder: Path, name: str) -> str:
    """What a stage of a recipe does, by its file or by those that it builds on."""
    content = _load(folder / f"{name}.yaml")
    if (kind := OmegaConf.select(content, "gr_vl.kind", default="???", throw_on_missing=False)) not in (None, "???"):
        return str(kind)
    bases = [item for item in content.get("defaults") or [] if isinstance(item, str)]
    return next((kind_of(folder, base) for base in bases if base in _stages(folder)), "")


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
    content = _load(folder / f"{name}.yaml")
    defaults = content.get("defaults") or []
    parents = [item for item in defaults if isinstance(item, str) and (folder / item).is_dir()]
    own = [name] if (folder / name).is_dir() else []
    return [*(group for parent in parents for group in _groups(folder, parent)), *own]


def _load(path: Path) -> DictConfig:
    try:
        content = OmegaConf.load(path)
    except (YAMLError, ValueError, OSError) as error:
        raise ConfigError(f"{path}: no configuration in YAML ({' '.join(str(error).split())}); correct it") from None
    if not isinstance(content, DictConfig):
        raise ConfigError(f"{path}: no configuration in YAML (it holds no keys); correct it")
    return content


def _stages(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml") if path.stem not in ("common", "pipeline"))


@cache
def _default(folder: Path, name: str, picked: tuple[str, ...]) -> tuple[DictConfig, dict[str, Any]]:
    """A stage without overrides, and its leaves; kept, since the variants of a grid start from the same one."""
    return _compose(folder, name, list(picked))


def _compose(
    folder: Path, name: str, overrides: list[str], known: Mapping[str, Any] | None = None
) -> tuple[DictConfig, dict[str, Any]]:
    """A configuration and its leaves, which cost as much to resolve. Raises ConfigError; `known` are its usual keys."""
    spec = importlib.util.find_spec("verl")
    homes = [str(Path(spec.origin).parent / "trainer" / "config")] if spec and spec.origin else []
    search = [f"hydra.searchpath=[{','.join(map(written.quoted, homes))}]"]
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(folder), version_base=None):
            config: DictConfig = compose(name, overrides=[*search, *overrides])
        return config, leaves(config)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError) as error:
        given = next((item for item in overrides if "${" in item), None)
        raise ConfigError(_explain(folder, name, error, known or {}, given)) from None


def _explain(folder: Path, name: str, error: Exception, known: Mapping[str, Any], given: str | None) -> str:
    message, place = str(error), f"{folder.name}/{name}"
    if unknown := re.search(r"Could not override '([^']+)'|Could not delete from config. '([^']+)' does not", message):
        key = unknown[1] or unknown[2]
        close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
        added = "; put + before it to add a key" if unknown[1] else ""
        return f"{key}: {place} has no such key{f'; did you mean {close[0]}?' if close else added}"
    if there := re.search(r"Could not append to config. An item is already at '([^']+)'", message):
        return f"+{there[1]}: {place} has this key already; drop the +"
    cause = error.__cause__ or error
    if isinstance(cause, OmegaConfBaseException) and (given or cause.full_key):
        missing = re.search(r"Interpolation key '([^']+)' not found", str(cause))
        why = f"nothing is called {missing[1]}" if missing else "this one cannot be read"
        return f"{given or cause.full_key}: {place}: ${{KEY}} is the value of another key, and {why}; name a known key"
    if error.__cause__ is not None:
        message = f"{message}: {str(cause).splitlines()[0]}"
    if "sft_trainer_engine" in message or "ppo_trainer" in message:
        return f"{place} builds on verl's configuration; install it: pip install 'gr-vl[train]'"
    return f"{place}: {' '.join(message.split('Config search path')[0].split())}"


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


def _check_types(before: Mapping[str, Any], after: Mapping[str, Any], overrides: Iterable[str]) -> None:
    for item in overrides:
        key = item.split("=", 1)[0].lstrip("+~")
        if key in after and any(name.startswith(f"{key}.") for name in before):
            raise ConfigError(f"{key}={after[key]!r} replaces a whole block; set one of its keys, {key}.NAME=VALUE")
        old, new = before.get(key), after.get(key)
        if new is None and key in written.SHORT.values():
            raise ConfigError(f"{key}=null: every run has one; give a value like its default {old!r}")
        if isinstance(old, float) and isinstance(new, int) and not isinstance(new, bool):
            continue
        if old is not None and new is not None and old != "???" and type(old) is not type(new):
            raise ConfigError(f"{key}={new!r} must be of type {type(old).__name__}, like its default {old!r}")
        if written.is_path(key) and isinstance(new, int | float):
            raise ConfigError(f"{key}={new!r} must be a path, and this is a number; name a folder or a file")
        if new == "???":
            raise ConfigError(f"{key}=???: stands for a value that is missing; give one")
        if key == written.SHORT["run"] and "${" in str(new):
            raise ConfigError(f"{key}={new}: a folder with ${{ in its name cannot be referred to; choose another")
