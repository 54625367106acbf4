"""Examples in docstrings are run: what a docstring shows is what the code does."""

import doctest
import importlib
from pathlib import Path

import pytest

import gr_vl

ROOT = Path(gr_vl.__file__).parent
MODULES = [
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
    for path in sorted(ROOT.rglob("*.py"))
    if ">>>" in path.read_text(encoding="utf-8") and path.parent.name != "verl_ext"
]


@pytest.mark.parametrize("module", MODULES)
def test_examples_hold(module):
    found = doctest.testmod(importlib.import_module(module))
    assert found.attempted
    assert not found.failed
