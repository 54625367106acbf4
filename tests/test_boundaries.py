"""The architecture's rules as tests: who may import what, and what may not be in the tree."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted(path for folder in ("gr_vl", "rewards") for path in (ROOT / folder).rglob("*.py"))


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def test_only_the_adapter_imports_verl():
    users = {
        path.relative_to(ROOT).parts[:2] for path in SOURCES if any(n.split(".")[0] == "verl" for n in imported(path))
    }
    assert users == {("gr_vl", "verl_ext")}


@pytest.mark.slow
@pytest.mark.parametrize(
    "module",
    [
        "gr_vl.cli",
        "gr_vl.ablation.results",
        "gr_vl.checks",
        "gr_vl.augment.concat",
        "gr_vl.evaluation.report",
        "gr_vl.data.demo",
        "gr_vl.teacher.run",
        "gr_vl.workbench.replay",
        "rewards",
    ],
)
def test_the_pure_core_loads_neither_torch_nor_ray(module):
    code = f"import sys, {module}; sys.exit(int(any(name in sys.modules for name in ('torch', 'ray', 'verl'))))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_our_own_code_never_unpickles():
    for path in SOURCES:
        text = path.read_text()
        assert "import pickle" not in text, path
        assert "weights_only=False" not in text, path


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path):
    text = path.read_text()
    assert text.count("\n") <= 300
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{path}:{node.lineno} {node.name}"
