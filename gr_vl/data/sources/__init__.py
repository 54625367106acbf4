"""Public corpora and benchmarks in their own shapes, a file for each or for a family of one shape.

Nothing is registered: a module here that exports `SOURCE`, or several as `SOURCES`, is found by that. To add one, write
such a module over `convert.reader`, and give it a shape in `bench/source_shapes.py`: the tests over all sources then
hold for it too. What needs pyarrow or Pillow imports it when a folder is read.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from gr_vl.data.sources.base import Source
from gr_vl.errors import ConfigError


def names() -> list[str]:
    """Every source, in alphabetical order."""
    return sorted(_all())


def get(name: str) -> Source:
    """A source by its name. ConfigError lists the known ones."""
    try:
        return _all()[name]
    except KeyError:
        near = difflib.get_close_matches(name, names(), 1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"source {name!r} is unknown{hint}; use one of: {', '.join(names())}") from None


@cache
def _all() -> Mapping[str, Source]:
    found: dict[str, Source] = {}
    for module in pkgutil.iter_modules(__path__):
        loaded = importlib.import_module(f"{__name__}.{module.name}")
        sources = getattr(loaded, "SOURCES", ())
        for source in (loaded.SOURCE,) if hasattr(loaded, "SOURCE") else sources:
            if source.name in found:
                raise RuntimeError(f"two sources are called {source.name}")
            found[source.name] = source
    return found
