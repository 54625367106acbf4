"""What is installed and what is not: the core and each extra alone, and every set of extras against its lock."""

import json
import os
import struct
import subprocess
import sys
import tomllib
from importlib.metadata import distribution
from pathlib import Path

import pytest
from factories import make_run, make_sample
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from gr_vl import compose, extras
from gr_vl.data import io
from gr_vl.errors import ConfigError
from gr_vl.evaluation.report import write_summary
from gr_vl.evaluation.run_folder import load

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = ("constraints.txt", "constraints-gpu.txt")
ON_GPUS = ("gpu", "flash-attn")
RECIPE = "guardreasoner_vl"
DIALECT = ("--dialect", "guardreasoner_vl")
TINY = (RECIPE, "model=tiny", "run=run")
FILES = ("--model", "model", "--adapter", "qwen3guard", "--corpus", "corpus.parquet", "--out", "answers")


def requirements(*named):
    """What the core and these extras ask for, with the extras of our own that they name."""
    found = [Requirement(item) for item in PROJECT["dependencies"]]
    for name in named:
        for item in map(Requirement, EXTRAS[name]):
            found += requirements(*item.extras) if item.name == "gr-vl" else [item]
    return found


def closure(*named):
    """The distributions that installing the core and these extras brings, of those that are here."""
    found, queue = {}, [(canonicalize_name(item.name), frozenset(item.extras)) for item in requirements(*named)]
    while queue:
        name, wanted = queue.pop()
        if wanted <= found.get(name, frozenset()) and name in found:
            continue
        found[name] = found.get(name, frozenset()) | wanted
        for item in map(Requirement, distribution(name).requires or ()):
            if not item.marker or any(item.marker.evaluate({"extra": extra}) for extra in {"", *wanted}):
                queue.append((canonicalize_name(item.name), frozenset(item.extras)))
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder of packages as installing the wheel alone, or with an extra, would make it: links to those here."""
    made = {}

    def install(*named):
        if named in made:
            return made[named]
        folder = made[named] = tmp_path_factory.mktemp("-".join(named) or "core")
        for name in closure(*named):
            found = distribution(name)
            for top in {Path(item.parts[0]) for item in found.files if item.parts[0] not in ("..", "__pycache__")}:
                if not (folder / top).exists():
                    (folder / top).symlink_to(found.locate_file(top))
        for name in ("gr_vl", "rewards", "recipes"):
            (folder / name).symlink_to(ROOT / name)
        return folder

    return install


def gr_vl(packages, folder, *arguments):
    code = "import sys; from gr_vl.cli import main; sys.argv[0] = 'gr-vl'; main()"
    return subprocess.run(
        [sys.executable, "-S", "-c", code, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONPATH": str(packages), "NO_COLOR": "1"},
        cwd=folder,
        capture_output=True,
        text=True,
    )


@pytest.fixture
def folder(tmp_path):
    """What the commands below name: a corpus, the folder of a model and a run."""
    io.write(tmp_path / "corpus.parquet", [make_sample("a"), make_sample("b")])
    (tmp_path / "model").mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (tmp_path / "model" / name).write_text("{}")
    header = json.dumps({"weight": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (tmp_path / "model" / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    io.write(tmp_path / "run" / "data" / "train.parquet", [make_sample("a")])
    make_run(tmp_path / "made", n=20, steps=6)
    write_summary(load(tmp_path / "made"))
    return tmp_path


CORE = {
    "data": ("data", *TINY),
    "data list": ("data", "list"),
    "data validate": ("data", "validate", "corpus.parquet"),
    "data reason --estimate": ("data", "reason", "corpus.parquet", "o.parquet", "--model", "a", *DIALECT, "--estimate"),
    "benchmarks": ("benchmarks",),
    "report": ("report", "made"),
    "compare": ("compare", "made"),
    "reward explain": (
        "reward",
        "explain",
        '{"output": "x", "gts": {"prompt": "harmful"}, "reasoning_tokens": 8}',
        *DIALECT,
    ),
}
TRAIN = {
    "base": ("base", *TINY),
    "sft": ("sft", *TINY),
    "mine": ("mine", *TINY),
    "rl": ("rl", *TINY),
    "eval": ("eval", *TINY),
    "check": ("check", RECIPE),
    "pipeline": ("pipeline", *TINY),
    "ablate": ("ablate", "clip", "--plan"),
    "submit": ("submit", "rl", *TINY),
    "jobs": ("jobs", "status", "--address", "http://127.0.0.1:1"),
    "data validate --tokenizer": ("data", "validate", "corpus.parquet", "--tokenizer", "model", *DIALECT),
}
SERVE = {
    "moderate": ("moderate", "--model", "model", "--dialect", RECIPE, "--text", "hello"),
    "serve": ("serve", "--model", "model", "--port", "0"),
    "export": ("export", "model", "exported", "--dialect", RECIPE),
}
DATA = {
    "data reason": ("data", "reason", "corpus.parquet", "out.parquet", "--model", "a", *DIALECT, "--yes"),
    "eval --endpoint": ("eval", "--endpoint", "http://127.0.0.1:1/v1", *FILES),
}
# With `serve` torch is there; Ray and verl are not.
WITH_VERL = {name: TRAIN[name] for name in ("sft", "rl", "check", "pipeline", "submit", "jobs")}
LACKING = {
    (): TRAIN | SERVE | DATA,
    ("data",): TRAIN | SERVE,
    ("serve",): WITH_VERL | DATA,
    ("train",): DATA | SERVE,
}
SERVED = ("moderate", "export")
"""A guard in use that `train`, too, has the packages for."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("named", "command", "arguments"),
    [
        pytest.param(named, name, arguments, id=f"{'+'.join(named) or 'the core'} alone: {name}")
        for named, commands in LACKING.items()
        for name, arguments in commands.items()
        if not (named == ("train",) and name in SERVED)
    ],
)
def test_what_needs_another_extra_names_it_in_one_line(installed, folder, named, command, arguments):
    extra = "train" if command in TRAIN else "serve" if command in SERVE else "data"
    done = gr_vl(installed(*named), folder, *arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"gr-vl[{extra}]" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("arguments", CORE.values(), ids=CORE)
def test_what_the_core_can_do_needs_nothing_else(installed, folder, arguments):
    done = gr_vl(installed(), folder, *arguments)
    assert (done.returncode, done.stderr) == (0, "")


CUDA = [
    pytest.param("sft", (), "flash_attn", "flash-attn", id="sft: flash attention"),
    pytest.param("rl", (), "flash_attn", "flash-attn", id="rl: flash attention"),
    pytest.param("mine", (), "vllm", "gpu", id="mine: vLLM"),
    pytest.param("eval", (), "vllm", "gpu", id="eval: vLLM"),
    pytest.param("rl", ("+rl_variant=separate_async",), "cupy", "gpu", id="separate_async: CuPy"),
]


@pytest.mark.parametrize(("kind", "overrides", "module", "extra"), CUDA)
def test_a_stage_on_gpus_is_refused_without_its_packages(monkeypatch, kind, overrides, module, extra):
    config = compose.stage_of_kind(RECIPE, kind, ["model=3b", *overrides]).config
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None if name == module else object())
    with pytest.raises(ConfigError, match=rf"needs {module}: install gr-vl\[{extra}\]"):
        extras.of_stage(kind, config)


@pytest.mark.parametrize("recipe", ["guardreasoner", "rsafe"])
def test_a_recipe_that_says_nothing_of_attention_gets_flash_attention(monkeypatch, recipe):
    config = compose.stage_of_kind(recipe, "sft", []).config
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None if name == "flash_attn" else object())
    with pytest.raises(ConfigError, match=r"flash_attention_2.*--no-build-isolation"):
        extras.of_stage("sft", config)


@pytest.mark.parametrize("kind", ["sft", "mine", "rl", "eval"])
def test_a_stage_on_cpu_needs_none_of_them(monkeypatch, kind):
    config = compose.stage_of_kind(RECIPE, kind, ["model=tiny"]).config
    monkeypatch.setattr(extras.importlib.util, "find_spec", lambda name: None)
    extras.of_stage(kind, config)


def pins(lock):
    return dict(line.split("==") for line in (ROOT / lock).read_text().split())


@pytest.mark.parametrize("lock", LOCKS)
def test_whatever_pyproject_names_is_in_the_lock_within_its_bounds(lock):
    named = [extra for extra in EXTRAS if lock == LOCKS[1] or extra not in ON_GPUS]
    locked = pins(lock)
    missing = [
        item for item in requirements(*named) if locked.get(canonicalize_name(item.name), "") not in item.specifier
    ]
    assert missing == []


WITHOUT_GPU = tuple(name for name in EXTRAS if name not in ON_GPUS)
# By a lock, which is one version of each package, whatever resolves together also resolves in parts.
SETS = [
    *((name,) for name in EXTRAS),
    ("gpu", "serve"),
    ("gpu", "dev"),
    ("gpu", "flash-attn"),
    WITHOUT_GPU,
    tuple(EXTRAS),
]


@pytest.fixture(scope="module")
def uv():
    found = Path(sys.executable).with_name("uv")
    if not found.is_file():
        pytest.skip("uv is not beside this Python; `make setup` installs it")
    probe = subprocess.run([found, "pip", "compile", "-q", "-"], input="iniconfig", capture_output=True, text=True)
    if probe.returncode:
        pytest.skip("no package index can be reached, and resolving asks one")
    return found


@pytest.mark.slow
@pytest.mark.parametrize("python", ["3.11", "3.12"])
@pytest.mark.parametrize("named", SETS, ids=lambda named: "+".join(named))
def test_extras_resolve_by_their_lock_from_wheels(uv, named, python):
    lock = LOCKS[bool(set(named) & set(ON_GPUS))]
    # Parts of hydra-core and SwanLab that need no compiler; flash-attn needs one, which is why it is an extra.
    sources = ["antlr4-python3-runtime", "pwinput", *(["flash-attn"] if "flash-attn" in named else [])]
    options = [f"--no-binary={name}" for name in sources] + [f"--extra={name}" for name in named]
    command = [uv, "pip", "compile", "-q", "pyproject.toml", "--only-binary=:all:", *options, "-c", lock]
    command += ["--python", sys.executable, "--python-version", python, "--no-header", "--no-annotate"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    resolved = dict(line.split("==") for line in done.stdout.split())
    assert resolved.items() <= pins(lock).items()
