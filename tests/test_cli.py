"""The command line as a user meets it: one line and exit code 2 for a mistake, without loading torch."""

import json
import os
import re
import subprocess
import sys

import pytest
from endpoint import MODEL, good, serving
from factories import make_model, make_sample

from gr_vl import cli
from gr_vl.data import io

RECIPE = "guardreasoner_vl"
TINY = (RECIPE, "model=tiny")
REASON = ("data", "reason", "nowhere.parquet", "out.parquet", "--model", "a-teacher", "--dialect", "rsafe")
MINI = "actor_rollout_ref.actor.ppo_mini_batch_size"


HEAVY = ("torch", "ray", "verl", "transformers", "tensordict", "vllm", "datasets")


def gr_vl(*arguments, cwd=None):
    """Exit code, output and error output of a command."""
    process = subprocess.run(
        [sys.executable, "-m", "gr_vl.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=os.environ | {"NO_COLOR": "1"},
    )
    return process.returncode, process.stdout, process.stderr


def loaded(*arguments, cwd):
    """Exit code, output, error output of a command, and which heavy modules it imported."""
    script = (
        f"import sys; from gr_vl import cli; sys.argv[1:] = {list(arguments)!r}; code = 0\n"
        "try: cli.main()\nexcept SystemExit as left: code = left.code\n"
        f"print('loaded:', *[name for name in {HEAVY!r} if name in sys.modules]); sys.exit(code)"
    )
    process = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd)
    out, _, names = process.stdout.rpartition("loaded:")
    return process.returncode, out, process.stderr, names.split()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with a corpus of 64 texts and stand-ins for the models."""
    folder = tmp_path_factory.mktemp("run")
    rows = [make_sample(str(index)) for index in range(64)]
    for name in ("data/train", "data/validation", "data/test", "mine/hard", "concat/train"):
        io.write(folder / f"{name}.parquet", rows)
    for stage in ("base", "sft"):
        make_model(folder / stage / "model")
    return folder


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("data", *TINY, "gr_vl.data.trian=3"), ["gr_vl.data.trian", "gr_vl.data.train?"], id="data: key"),
        pytest.param(("data", *TINY, "gr_vl.data.train=0"), ["gr_vl.data.train=0", "at least 1"], id="data: no row"),
        pytest.param(("data", RECIPE, "model=3b"), ["gr_vl.data.folder=data/", "no such folder"], id="data: no folder"),
        pytest.param(
            ("base", *TINY, "run=nowhere"), ["nowhere/data/train.parquet", "gr-vl data"], id="base: no corpus"
        ),
        pytest.param(("base", *TINY, "seed=x"), ["gr_vl.seed='x'", "int"], id="base: wrong type"),
        pytest.param(
            ("sft", *TINY, "data.train_batch=3"), ["data.train_batch:", "data.train_batch_size?"], id="sft: key"
        ),
        pytest.param(("sft", *TINY, "optim.lr=fast"), ["optim.lr='fast'", "float"], id="sft: wrong type"),
        pytest.param(
            ("sft", *TINY, "data.train_batch_size=33", "data.micro_batch_size_per_gpu=32"),
            ["=33", "use 32"],
            id="sft: batch arithmetic",
        ),
        pytest.param(("sft", *TINY, "run=nowhere"), ["nowhere/base/model", "run the stage"], id="sft: no model"),
        pytest.param(("mine", *TINY, "gr_vl.mine.rules=x"), ["gr_vl.mine.rule?"], id="mine: key"),
        pytest.param(("mine", *TINY, "gr_vl.mine.rule=hard"), ["='hard'", "all_wrong"], id="mine: no such rule"),
        pytest.param(("mine", *TINY, "gr_vl.generation.top_p=0"), ["top_p=0", "use 1"], id="mine: impossible"),
        pytest.param(("mine", *TINY, "run=nowhere"), ["nowhere/data/train.parquet"], id="mine: no corpus"),
        pytest.param(("concat", *TINY, "gr_vl.concat.share=1.0"), ["share=1.0", "0.2"], id="concat: impossible"),
        pytest.param(("concat", *TINY, "run=nowhere"), ["nowhere/mine/hard.parquet"], id="concat: no corpus"),
        pytest.param(("rl", *TINY, "gr_vl.clip.epsilom=1"), ["gr_vl.clip.epsilon?"], id="rl: key"),
        pytest.param(("rl", *TINY, "gr_vl.clip.epsilon=wide"), ["='wide'", "float"], id="rl: wrong type"),
        pytest.param(("rl", *TINY, "actor_rollout_ref.rollout.n=1"), ["rollout.n=1", "use 8"], id="rl: one answer"),
        pytest.param(
            ("rl", *TINY, "data.train_batch_size=18", f"{MINI}=4"), ["=18", "use 16"], id="rl: batch arithmetic"
        ),
        pytest.param(("rl", *TINY, "run=nowhere"), ["nowhere/sft/model"], id="rl: no model"),
        pytest.param(("rl", RECIPE, "config=sft"), ["config=sft", "use gr-vl sft"], id="rl: another kind of stage"),
        pytest.param(("eval", *TINY, "gr_vl.generation.sample=1"), ["gr_vl.generation.samples?"], id="eval: key"),
        pytest.param(("eval", *TINY, "run=nowhere"), ["nowhere/data/test.parquet"], id="eval: no corpus"),
        pytest.param(("sft", "nothing"), ["RECIPE='nothing'", RECIPE], id="no such recipe"),
        pytest.param(("sft", RECIPE, "model=1b"), ["model='1b'", "3b, 7b, tiny"], id="no such model"),
        pytest.param(("sft", RECIPE, "tiny"), ["'tiny'", "key=value"], id="an override without a value"),
        pytest.param(("report", "nowhere"), ["nowhere", "run.json", "run="], id="report: no run"),
        pytest.param(("check", *TINY, "gr_vl.device=tpu"), ["gr_vl.device='tpu'", "cpu"], id="check: no device"),
        pytest.param(("ablate", "clap"), ["GRID='clap'", "clip, length, paper"], id="ablate: no such grid"),
        pytest.param((*REASON, "--yes"), ["OPENAI_API_KEY", "export"], id="reason: no key"),
        pytest.param((*REASON, "--estimate"), ["nowhere.parquet", "no such file"], id="reason: no corpus"),
        pytest.param(REASON[:6], ["nowhere.parquet", "no such file"], id="reason: no corpus to name a dialect"),
        pytest.param((*REASON, "--attempts", "0"), ["--attempts 0", "above 0"], id="reason: no attempt"),
        pytest.param((*REASON, "--price-in", "2"), ["--price-out", "both"], id="reason: half of a price"),
        pytest.param((*REASON, "--budget-usd", "2"), ["--budget-usd 2", "--price-in"], id="reason: no price"),
        pytest.param((*REASON, "--base-url", "localhost:8000"), ["--base-url", "https://"], id="reason: no address"),
        pytest.param((*REASON[:3], "out.json", *REASON[4:]), ["out.json", ".parquet"], id="reason: no parquet"),
        pytest.param((*REASON[:3], REASON[2], *REASON[4:]), ["is the input"], id="reason: in place"),
        pytest.param(("check", *TINY, "warm:seed=1"), ["'warm'", "sft, mine"], id="check: no such stage"),
        pytest.param(("submit", "rl", *TINY, "gr_vl.clip.epsilom=1"), ["gr_vl.clip.epsilon?"], id="submit: key"),
        pytest.param(("submit", "data", *TINY), ["RAY_ADDRESS is not set", "--address"], id="submit: nowhere"),
        pytest.param(("jobs", "status", "--address", "auto"), ["'auto'", "http://HOST:8265"], id="jobs: no dashboard"),
        pytest.param(("pipeline", *TINY, "warm:seed=1"), ["'warm'", "sft, mine"], id="pipeline: no such stage"),
    ],
)
def test_a_mistake_costs_one_line(tmp_path, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    for name in ("OPENAI_API_KEY", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "argv", ["gr-vl", *arguments])
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, error = capsys.readouterr()
    assert (left.value.code, out) == (2, "")
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    for word in words:
        assert word in error


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        pytest.param(("sft", *TINY, "data.train_batch=3"), "data.train_batch_size?", id="an unknown key"),
        pytest.param(("rl", *TINY, "gr_vl.clip.epsilon=wide"), "float", id="a wrong type"),
        pytest.param(("concat", *TINY, "run=nowhere"), "hard.parquet", id="a missing file"),
        pytest.param(("sft", *TINY, "run=nowhere"), "base/model", id="a missing model"),
        pytest.param(("rl", *TINY, "data.train_batch_size=18", f"{MINI}=4"), "use 16", id="batch arithmetic"),
        pytest.param((*REASON, "--estimate"), "nowhere.parquet", id="a missing corpus"),
    ],
)
def test_a_mistake_loads_no_torch_and_leaves_nothing_behind(tmp_path, arguments, word):
    code, out, error, heavy = loaded(*arguments, cwd=tmp_path)
    assert (code, out, error.count("\n"), heavy) == (2, "", 1, [])
    assert word in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_batch_of_more_rows_than_there_are(run):
    code, out, error = gr_vl("sft", *TINY, f"run={run}", "data.train_batch_size=320")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "data.train_batch_size=320 exceeds the 64 rows" in error


@pytest.mark.parametrize(
    "command",
    [
        "",
        "data",
        "data reason",
        "base",
        "sft",
        "mine",
        "concat",
        "rl",
        "eval",
        "pipeline",
        "report",
        "check",
        "ablate",
        "submit",
        "jobs",
        "jobs status",
        "jobs logs",
        "jobs stop",
    ],
)
def test_help_has_an_example(monkeypatch, capsys, command):
    monkeypatch.setattr(sys, "argv", ["gr-vl", *command.split(), "--help"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert not left.value.code
    assert re.search(f"Examples?: gr-vl {command}", " ".join(capsys.readouterr().out.split()))


@pytest.mark.slow
def test_without_arguments_there_is_help():
    code, out, error = gr_vl()
    assert code == 2
    assert "pipeline" in out + error


@pytest.mark.slow
def test_an_unknown_command_is_refused():
    code, _, error = gr_vl("trian", RECIPE)
    assert code == 2
    assert "trian" in error


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("--help",), ("check", *TINY)], ids=["help", "check"])
def test_what_needs_no_model_loads_no_torch(tmp_path, arguments):
    code, out, error, heavy = loaded(*arguments, cwd=tmp_path)
    assert (code, error, heavy) == (0, "", [])
    assert out


@pytest.mark.slow
def test_check_tells_steps_clip_curve_and_rewards():
    code, out, error = gr_vl("check", RECIPE, "model=3b")
    assert (code, error) == (0, "")
    assert "rl: clip paper" in out
    assert "0.191 to 0 in 23 steps; 61% of them under 0.02" in out
    # 0.2 x 22/22, 21/22, ..., 0: the last three of 23 are under 0.02.
    assert "rl: gr_vl.clip.kind=paper leaves 61% of 23 steps nearly still; gr_vl.clip.kind=linear leaves 13%" in out
    # Both wrong, over the whole budget: beta 1 costs 1, beta 1/6 costs 36.
    rows = [line.split() for line in out.splitlines() if "0 of 2 right" in line]
    assert [row[-2] for row in rows] == ["-1", "-36"]


DATA = ("gr_vl.data.train=12", "gr_vl.data.validation=6", "gr_vl.data.test=6")


@pytest.mark.slow
def test_a_finished_stage_is_kept_and_one_with_other_settings_refused(tmp_path):
    here = (*TINY, f"run={tmp_path / 'run'}", *DATA)
    code, out, error = gr_vl("data", *here)
    assert (code, error) == (0, "")
    assert out.splitlines()[0] == "start data"
    assert out.splitlines()[-1].startswith("done  data")
    corpus = tmp_path / "run" / "data" / "train.parquet"
    made = (corpus.stat().st_mtime_ns, corpus.read_bytes())
    code, out, error = gr_vl("data", *here)
    assert (code, error) == (0, "")
    assert out.startswith("kept  data")
    code, out, error = gr_vl("data", *here, "seed=5")
    assert (code, out, error.count("\n")) == (2, "", 1)
    assert "gr_vl.seed=5" in error
    assert "was made with 1; choose another run=DIR or remove that folder" in error
    assert (corpus.stat().st_mtime_ns, corpus.read_bytes()) == made
    assert json.loads((tmp_path / "run" / "run.json").read_text())["seed"] == 1


@pytest.mark.slow
def test_a_report_of_a_run_that_has_only_begun(tmp_path):
    run = tmp_path / "run"
    assert gr_vl("data", *TINY, f"run={run}", *DATA)[0] == 0
    code, out, error = gr_vl("report", run)
    assert (code, error) == (0, "")
    assert "done  report" in out
    assert (run / "report.html").is_file()
    assert "data" in json.loads((run / "summary.json").read_text())["stages"]


@pytest.mark.slow
def test_reason_estimates_asks_and_tells(tmp_path):
    pytest.importorskip("openai")
    samples = [make_sample(str(index), prompt=f"case {index}") for index in range(3)]
    io.write(tmp_path / "in.parquet", samples)
    with serving(good) as server:
        here = (
            "data",
            "reason",
            "in.parquet",
            "out.parquet",
            "--model",
            MODEL,
            "--base-url",
            server.url,
            "--dialect",
            "guardreasoner_vl",
        )
        prices = ("--price-in", "2", "--price-out", "10", "--max-tokens", "100", "--api-key-env", "HOME")
        code, out, error = gr_vl(*here, *prices, "--estimate", cwd=tmp_path)
        assert (code, error, server.requests) == (0, "", [])
        assert "3 samples: 3 to ask for, 0 with reasoning, 0 images" in out
        code, out, error = gr_vl(*here, *prices, cwd=tmp_path)
        assert (code, out, error.count("\n"), server.requests) == (2, "", 1, [])
        assert "--yes" in error
        code, out, error = gr_vl(*here, *prices, "--yes", cwd=tmp_path)
    assert (code, error, len(server.requests)) == (0, "", 3)
    # 3 calls of 100 tokens in and 50 out: 3 * (100 * 2 + 50 * 10) / 1e6 dollars.
    assert "3 calls, 450 tokens, $0.0021" in out
    assert "3 taught, 0 kept as they were: out.parquet" in out
    written = "".join(path.read_text(errors="replace") for path in tmp_path.iterdir())
    assert os.environ["HOME"] == server.headers[0]["authorization"].removeprefix("Bearer ")
    assert f'"{os.environ["HOME"]}"' not in written
