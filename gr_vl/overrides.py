"""How KEY=VALUE of a command line reaches Hydra, whose grammar refuses many characters and reads others as its own.

Paths and texts are taken as they stand: a key that names a path, or whose default is a text, gets its value in quotes.
Numbers, lists, blocks and null of other keys are Hydra's. A value in quotes means what stands between them, everywhere.
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from unicodedata import category

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from gr_vl.errors import ConfigError

SHORT = {"run": "gr_vl.run", "seed": "gr_vl.seed"}
_RESERVED = ("model", "config", *SHORT)
_PATH = re.compile(
    r"(.*\.)?(run|folder|out|full|reference|cache|corpus|path|model|\w+_(model|path|dir|files?)|models\.[^.]+)"
)
"""Keys that name files, folders or models, ours and verl's."""
_OPTIONAL = ("data.val_files", "trainer.rollout_data_dir")
"""Paths with a default that may be null: nothing is read or written there."""


def split(items: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """The short forms by name (run, seed, model, config), and the other overrides. ConfigError for what is neither."""
    short: dict[str, str] = {}
    rest: list[str] = []
    for item in items:
        key, equals, value = item.partition("=")
        if not equals and not item.startswith("~"):
            raise ConfigError(f"override {item!r} must have the form key=value, for example seed=2")
        if odd := [letter for letter in item if category(letter) in ("Cc", "Cs")]:
            raise ConfigError(f"override {item!a}: {odd[0]!a} is no character of a text; write UTF-8 in one line")
        if key in _RESERVED:
            short[key] = value
        else:
            rest.append(item)
    return short, rest


def for_hydra(item: str, defaults: Mapping[str, Any]) -> str:
    """An override as Hydra reads it; `defaults` are the leaves of the configuration without it. Raises ConfigError."""
    key, equals, value = item.partition("=")
    name = key.lstrip("+~")
    if not name or _parse(f"{key}=0" if equals else key) is None:
        raise ConfigError(f"override {item!r}: {name!r} is no key; write letters, digits, _ and dots, as in gr_vl.seed")
    if not equals or key.startswith("~"):
        return item
    default = defaults.get(name)
    if is_path(name) and not isinstance(default, list):
        optional = _is_null(value) and (default is None or name in _OPTIONAL)
        return item if optional else f"{key}={quoted(path(name, value))}"
    parsed = _parse(item)
    if parsed is None or (isinstance(default, str) and parsed.value() is not None):
        return f"{key}={quoted(_unquoted(value))}"
    if parsed.is_sweep_override():
        raise ConfigError(
            f"{name}={value}: a run takes one value, and these are several; put a list in [ ], a text in quotes, "
            f"or compare them with gr-vl ablate"
        )
    return item


def is_path(key: str) -> bool:
    """Whether a dotted key names a file, a folder or a model."""
    return _PATH.fullmatch(key) is not None


def path(key: str, value: str) -> str:
    """A path that a person wrote, quotes taken off and `~` expanded. ConfigError when it names nothing."""
    text = _unquoted(value)
    if text in ("", "???") or _is_null(value):
        hint = f", or ./{text} if it is called so" if text else ""
        raise ConfigError(f"{key}={value}: must be a path; name one{hint}")
    # A hub's name or pkg://module is no path, and comes out as it went in.
    return str(Path(text).expanduser()) if text.startswith("~") else text


def quoted(text: str) -> str:
    """A text as Hydra reads it back, whatever it holds."""
    return str(QuotedString(text, Quote.single).with_quotes())


def _unquoted(value: str) -> str:
    parsed = _parse(f"key={value}") if value[:1] in ("'", '"') and value[-1:] == value[:1] else None
    return str(parsed.value()) if parsed is not None else value


def _is_null(value: str) -> bool:
    return value.lower() == "null"


def _parse(item: str) -> Any:
    try:
        return OverridesParser.create().parse_override(item)
    except HydraException:
        return None
