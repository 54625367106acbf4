"""Jobs without a cluster: addresses, uploads, names, what is sent again, and why a job waits."""

import json
import os
import shlex
import socket
from pathlib import Path

import pytest

pytest.importorskip("ray")

from gr_vl import compose
from gr_vl.cluster import address, manifest
from gr_vl.cluster.explain import Load, shortage
from gr_vl.cluster.job import Asks, plan
from gr_vl.cluster.outcome import Budget, Cause, Outcome, judge
from gr_vl.cluster.upload import EXCLUDES, measure
from gr_vl.errors import ConfigError, DataError

ROOT = Path(__file__).parent.parent
TINY = ("model=tiny", "gr_vl.data.train=12")


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """A user without a token or an address."""
    for name in ("RAY_ADDRESS", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        # Set, then unset: the tests' code may set it, and this puts back what was there.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(
    "url",
    ["http://localhost:8265", "http://127.0.0.1:8265", "http://127.9.9.9:8265/", "https://[::1]:8265"],
)
def test_a_dashboard_on_this_machine_needs_no_token(url):
    assert address.dashboard(url) == url.rstrip("/")


@pytest.mark.parametrize("url", ["http://10.0.0.7:8265", "https://ray.example.org", "http://0.0.0.0:8265"])
def test_a_dashboard_that_others_reach_needs_a_token(monkeypatch, tmp_path, url):
    with pytest.raises(ConfigError, match=r"there is no token.*RAY_AUTH_TOKEN.*--insecure"):
        address.dashboard(url)
    assert address.dashboard(url, insecure=True) == url
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    with pytest.raises(ConfigError, match="there is no token"):
        address.dashboard(url)
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    assert address.dashboard(url) == url


@pytest.mark.parametrize("url", ["http://10.0.0.7:8265", "http://localhost:8265"])
def test_a_token_of_ray_start_is_used_without_being_asked_for(monkeypatch, tmp_path, url):
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("secret")
    monkeypatch.setenv("RAY_ADDRESS", url)
    assert address.dashboard(None) == url
    assert address.os.environ["RAY_AUTH_MODE"] == "token"


@pytest.mark.parametrize("wrong", ["auto", "head:6379", "ray://head:10001", "10.0.0.7:8265"])
def test_an_address_that_is_no_dashboard(wrong):
    with pytest.raises(ConfigError, match=r"must be the dashboard's address; use http://HOST:8265"):
        address.dashboard(wrong)


def test_no_address():
    with pytest.raises(ConfigError, match="RAY_ADDRESS is not set; use --address"):
        address.dashboard(None)


def test_a_dashboard_that_is_not_there():
    with pytest.raises(ConfigError, match=r"http://127\.0\.0\.1:1: no dashboard answers"):
        address.reach("http://127.0.0.1:1")


@pytest.fixture
def project(tmp_path):
    """A folder with code of 300 bytes, and with what must not travel."""
    root = tmp_path / "project"
    travels = {"gr_vl/data/io.py": 100, "recipes/mine/common.yaml": 150, "notes/data/x.txt": 50}
    stays = (
        *("data/train.jsonl", "runs/a/stage.json", ".git/HEAD", ".venv/bin/python", "outputs/x", "wandb/x"),
        *("notes/rows.parquet", "models/a.safetensors", "x/checkpoints/step", "a.pt", ".env", "key.pem"),
        *("gr_vl/__pycache__/io.pyc", ".mypy_cache/x", "ignored/file", "unwanted.txt"),
    )
    for path, size in travels.items() | {(path, 1000) for path in stays}:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"x" * size)
    (root / ".gitignore").write_text("ignored/\n")
    (root / ".rayignore").write_text("unwanted.txt\n")
    return root, travels


def test_data_checkpoints_secrets_and_repositories_never_travel(project, tmp_path):
    root, travels = project
    upload = measure(root, 1)
    assert {path: size for path, size in upload.files.items() if not path.startswith(".")} == travels
    assert {path for path in upload.files if path.startswith(".")} == {".gitignore", ".rayignore"}
    assert upload.lines()[1].split() == ["0.00", "MB", "1", "recipes"]


def test_what_is_listed_is_what_ray_packs(project, tmp_path):
    from zipfile import ZipFile

    from ray._private.runtime_env.packaging import create_package

    job = plan("data", "guardreasoner_vl", TINY, Asks(), project[0])
    create_package(str(project[0]), tmp_path / "sent.zip", True, excludes=job.runtime_env()["excludes"])
    packed = {item.filename for item in ZipFile(tmp_path / "sent.zip").infolist() if not item.is_dir()}
    assert packed == set(measure(project[0], 1).files)


def test_an_upload_over_its_limit_names_the_largest_files(project):
    (project[0] / "big.txt").write_bytes(b"x" * 2_000_000)
    with pytest.raises(
        ConfigError, match=r"--upload-limit 1: .* 2\.00 MB in 6 files, the largest big\.txt \(2\.00 MB\)"
    ):
        measure(project[0], 1)


SECRETS = (
    *(
        ".env",
        ".env.local",
        "prod.env",
        "id_rsa",
        "id_ed25519.old",
        "credentials",
        "credentials.json",
        "key.pem",
        "a.key",
    ),
    *(
        ".huggingface_token",
        "auth_token",
        "token",
        ".netrc",
        ".git-credentials",
        ".aws/config",
        ".ssh/known",
        "secrets.yaml",
    ),
)


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_never_travels_and_the_docs_say_so(project, name):
    root, travels = project
    for folder in (root, root / "notes"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    assert {path for path in measure(root, 1).files if not path.startswith(".")} == set(travels)


@pytest.mark.parametrize("name", ["tokenizer.json", "id_map.py", "tokens.py", "environment.yaml", "monkey.txt"])
def test_what_only_sounds_like_a_secret_travels(project, name):
    (project[0] / name).write_text("x")
    assert name in measure(project[0], 1).files


def test_the_docs_list_every_pattern_that_keeps_a_file_here():
    text = (ROOT / "docs" / "cluster.md").read_text()
    assert [pattern for pattern in EXCLUDES if f"`{pattern}`" not in text] == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        pytest.param(lambda root: os.mkfifo(root / "pipe"), "pipe': is a named pipe or a device", id="a named pipe"),
        pytest.param(lambda root: (root / "zero").symlink_to("/dev/zero"), "zero': is a named pipe", id="a device"),
        pytest.param(
            lambda root: open(os.fsencode(root) + b"/caf\xe9", "w").close(), r"caf\udce9': has a name", id="no UTF-8"
        ),
        pytest.param(
            lambda root: (root / "loop").symlink_to("."), "loop': is a link to a folder around it", id="a loop"
        ),
        pytest.param(
            lambda root: (root / "notes" / ".gitignore").write_bytes(b"# caf\xe9\n"),
            "notes/.gitignore: Ray cannot read it",
            id="an ignore file in Latin-1",
        ),
        pytest.param(
            lambda root: (root / ".rayignore").write_text("!\n"), ".rayignore: Ray cannot read it", id="a lone !"
        ),
    ],
)
def test_what_ray_cannot_pack_is_refused_in_one_line(project, make, words):
    make(project[0])
    with pytest.raises(ConfigError) as caught:
        measure(project[0], 1)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sockets_and_links_to_nothing_do_no_harm(project):
    root, travels = project
    (root / "gone").symlink_to("nowhere")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(root / "s"))
        assert set(travels) < set(measure(root, 1).files)


@pytest.mark.parametrize("place", ["josé", "exp (1), [v=1] #2", "新 加卷"])
@pytest.mark.parametrize("kind", ["data", "pipeline"])
def test_what_is_sent_composes_on_the_other_side_with_the_same_paths(monkeypatch, tmp_path, place, kind):
    root, there = tmp_path / place / "project", tmp_path / "there"
    root.mkdir(parents=True)
    there.mkdir()
    monkeypatch.chdir(root)
    given = ["model=tiny", "run=runs/[v1]", "gr_vl.base_model=models/é"]
    if kind == "data":
        given = [*given[:2], "gr_vl.data.source=parquet", "gr_vl.data.folder=data/2026"]
    sent = plan(kind, "guardreasoner_vl", given, Asks(), root).command
    assert sent[:5] == ("python", "-m", "gr_vl.cli", kind, "guardreasoner_vl")
    monkeypatch.chdir(there)
    own = [item for item in sent[5:] if ":" not in item.split("=")[0]]
    settings = compose.stage("guardreasoner_vl", "data", own).config.gr_vl
    assert settings.run == f"{root}/runs/[v1]"
    if kind == "data":
        assert settings.data.folder == f"{root}/data/2026"


def test_the_downloads_that_a_recipe_names_are_sent_as_an_absolute_path_and_hub_names_as_they_are(
    monkeypatch, tmp_path
):
    monkeypatch.chdir(tmp_path)
    given = ["model=3b", "run=/shared/runs/3b", "gr_vl.base_model=owner/name"]
    sent = plan("pipeline", "guardreasoner_vl", given, Asks(), tmp_path).command
    assert f"data:gr_vl.data.folder={tmp_path}/data/guardreasoner_vl_train" in sent
    assert "gr_vl.base_model=owner/name" in sent
    assert sent[-1] == "run=/shared/runs/3b"


def test_a_job_is_named_by_run_stage_and_settings(tmp_path):
    def named(*overrides, kind="data", run="demo.1"):
        items = ["model=tiny", f"run={tmp_path / run}", *overrides]
        return plan(kind, "guardreasoner_vl", items, Asks(), tmp_path).name

    first = named()
    assert first.startswith("demo_1-data-")
    assert first == named()
    others = {named("seed=2"), named(run="demo.2"), named(kind="concat")}
    assert len(others | {first}) == 4


def test_a_job_runs_the_same_command_with_an_absolute_run(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    job = plan("data", "guardreasoner_vl", [*TINY, "run=runs/a", "seed=3"], Asks(gpus=2, custom={"disk": 1}), tmp_path)
    command = ["data", "guardreasoner_vl", *TINY, "seed=3", f"run={tmp_path}/runs/a"]
    assert job.command == ("python", "-m", "gr_vl.cli", *command)
    assert job.metadata["run"] == f"{tmp_path}/runs/a"
    words = shlex.split(job.shell("http://localhost:8265", attempt=3))
    assert words[:3] == ["ray", "job", "submit"]
    options = dict(zip(words[3 : words.index("--") : 2], words[4 : words.index("--") : 2], strict=True))
    assert options["--submission-id"] == f"{job.name}-3"
    assert (options["--entrypoint-num-gpus"], options["--entrypoint-resources"]) == ("2", '{"disk": 1}')
    assert "--entrypoint-num-cpus" not in options
    assert json.loads(options["--runtime-env-json"]) | {"working_dir": str(tmp_path)} == job.runtime_env()
    assert tuple(words[words.index("--") + 1 :]) == job.command


def test_mistakes_are_found_before_anything_is_sent(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(DataError, match=r"data/train\.parquet"):
        plan("base", "guardreasoner_vl", ["model=tiny", f"run={tmp_path / 'run'}"], Asks(), tmp_path)
    with pytest.raises(ConfigError, match=r"did you mean gr_vl\.data\.train"):
        plan("data", "guardreasoner_vl", ["model=tiny", "gr_vl.data.trian=3"], Asks(), tmp_path)


def test_a_recipe_that_would_stay_behind_is_refused(tmp_path):
    (tmp_path / "away").mkdir()
    (tmp_path / "away" / "common.yaml").write_text("{}")
    (tmp_path / "away" / "data.yaml").write_text("defaults: [common, _self_]\ngr_vl: {kind: data}")
    with pytest.raises(ConfigError):
        plan("data", str(tmp_path / "away"), [], Asks(), tmp_path / "project")


def test_the_data_of_a_run_have_a_digest(tmp_path):
    from factories import make_sample

    from gr_vl.data import io

    assert manifest.data_digest(tmp_path) == "none"
    io.write(tmp_path / "data" / "train.parquet", [make_sample("1")])
    first = manifest.data_digest(tmp_path)
    assert first == manifest.data_digest(tmp_path)
    io.write(tmp_path / "data" / "train.parquet", [make_sample("2")])
    assert manifest.data_digest(tmp_path) != first


FAILED = "JOB_ENTRYPOINT_COMMAND_ERROR"


@pytest.mark.parametrize(
    ("end", "cause", "code"),
    [
        pytest.param(("SUCCEEDED", 0, None, "Job finished"), Cause.DONE, 0, id="done"),
        pytest.param(("STOPPED", None, None, "stopped"), Cause.STOPPED, 1, id="stopped by a person"),
        pytest.param(
            ("FAILED", None, "JOB_SUPERVISOR_ACTOR_DIED", "it was killed by `ray.kill`"),
            Cause.STOPPED,
            1,
            id="stopped before it started",
        ),
        pytest.param(("FAILED", 75, FAILED, "stopped"), Cause.PREEMPTION, 75, id="stopped with a checkpoint"),
        pytest.param(("FAILED", 2, FAILED, "error: seed=x"), Cause.MISTAKE, 2, id="a mistake of the caller"),
        pytest.param(("FAILED", 1, FAILED, "failed: ValueError"), Cause.ERROR, 1, id="a failed stage"),
        pytest.param(("FAILED", -9, FAILED, "killed"), Cause.ERROR, 137, id="killed, perhaps for memory"),
        pytest.param(("FAILED", 143, FAILED, "exit"), Cause.PREEMPTION, 143, id="asked to end"),
        pytest.param(("FAILED", -15, FAILED, "exit"), Cause.PREEMPTION, 143, id="ended by the signal itself"),
        pytest.param(
            ("FAILED", None, "JOB_SUPERVISOR_ACTOR_DIED", "died"), Cause.PREEMPTION, 1, id="the driver's node died"
        ),
        pytest.param(
            ("FAILED", 1, FAILED, "The actor died because its node has died. Node Id: 3f"),
            Cause.PREEMPTION,
            1,
            id="a worker's node died",
        ),
        pytest.param(
            ("FAILED", None, "RUNTIME_ENV_SETUP_FAILURE", "no disk"), Cause.ERROR, 1, id="no runtime environment"
        ),
    ],
)
def test_an_end_has_a_cause(end, cause, code):
    outcome = judge("a-1", *end)
    assert (outcome.cause, outcome.exit_code) == (cause, code)


E, P, D, M = Cause.ERROR, Cause.PREEMPTION, Cause.DONE, Cause.MISTAKE


@pytest.mark.parametrize(
    ("ends", "tried"),
    [
        pytest.param([D], 1, id="done at once"),
        pytest.param([E, D], 2, id="an error is tried again"),
        pytest.param([E, E, D], 2, id="one error is in the budget"),
        pytest.param([P, P, D], 3, id="two preemptions are"),
        pytest.param([P, P, P, D], 3, id="three are not"),
        pytest.param([P, E, P, D], 4, id="the budgets are separate"),
        pytest.param([M, D], 1, id="a mistake is final"),
        pytest.param([Cause.STOPPED, D], 1, id="a stop is final"),
        pytest.param([E, M, D], 2, id="a mistake after an error is final"),
    ],
)
def test_errors_and_preemptions_have_budgets_of_their_own(ends, tried):
    waits = []
    left = iter([Outcome(f"a-{index}", cause, index) for index, cause in enumerate(ends)])
    budget = Budget(errors=1, preemptions=2, first_wait=0.001)
    last = budget.run(lambda: next(left), lambda outcome, seconds: waits.append(seconds))
    assert last.exit_code == tried - 1
    # 1, 2, 4, ... times the first wait.
    assert waits == pytest.approx([0.001 * 2**index for index in range(tried - 1)])


def load(*nodes, **report):
    names = [{f"n{index}": node for index, node in enumerate(nodes)}]
    status = {"loadMetricsReport": {"usageByNode": names[0], **report}}
    return Load.read({"data": {"clusterStatus": status}})


BUSY = {"GPU": [1.0, 1.0], "CPU": [2.0, 16.0]}
IDLE = {"GPU": [0.0, 1.0], "CPU": [0.0, 8.0], "myDisk": [0.0, 2.0]}


@pytest.mark.parametrize(
    ("asks", "words"),
    [
        pytest.param({}, None, id="nothing"),
        pytest.param({"GPU": 1.0, "CPU": 8.0}, None, id="what one node has free"),
        pytest.param({"my_disk": 2.0}, None, id="a resource that the dashboard spells its own way"),
        pytest.param({"GPU": 2.0}, "GPU 2, and no node has more than 1: add such a node", id="two nodes' together"),
        pytest.param({"TPU": 1.0}, "TPU 1, and no node has more than 0", id="what nobody has"),
        pytest.param({"GPU": 1.0, "CPU": 12.0}, "GPU 1, CPU 12 on one node, and others use them", id="taken"),
    ],
)
def test_what_a_job_waits_for(asks, words):
    found = shortage(asks, load(BUSY, IDLE))
    assert found is None if words is None else words in found


def test_a_load_in_words():
    seen = load(BUSY, IDLE, resourceDemand=[[{"GPU": 7.0}, 2]], pgDemand=[])
    assert seen.words() == "CPU 22 of 24 free, GPU 1 of 2 free"
    assert seen.waiting == ('2 x {"GPU": 7.0}',)
    assert Load.read({"data": {"clusterStatus": None}}).words() == "CPU 0 of 0 free, GPU 0 of 0 free"
