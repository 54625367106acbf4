"""What a person names on a command line is read wherever and whatever it is: a pipe, a link, a name with odd signs."""

import json
import os
import threading
from contextlib import contextmanager, suppress

import pytest
from factories import make_png, make_run

from gr_vl import cli, dialects, jobs
from gr_vl.data import images, io
from gr_vl.errors import ConfigError, DataError, GuardError
from gr_vl.evaluation import predictions
from gr_vl.workbench import rollouts

PREDICTION = {"prompt": "a", "label": "harmful", "predict": "Response: harmful"}
ROLLOUT = {"output": "a", "gts": {"prompt": "harmful"}}


@contextmanager
def piped(data):
    """The path of a pipe that gives `data`, as a shell's <(...) does."""
    reading, writing = os.pipe()

    def feed():
        with suppress(BrokenPipeError), os.fdopen(writing, "wb") as file:
            file.write(data)

    feeder = threading.Thread(target=feed)
    feeder.start()
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
        feeder.join()


def line(row):
    return json.dumps(row).encode() + b"\n"


def test_predictions_come_from_a_pipe():
    with piped(line(PREDICTION) * 2) as path:
        assert len(predictions.read(predictions.Path(path), "guardreasoner")) == 2


def test_rollouts_come_from_a_pipe():
    with piped(line(ROLLOUT) * 3) as path:
        assert len(rollouts.read([rollouts.Path(path)], dialects.get("guardreasoner_vl")).answers) == 3


def test_the_input_of_moderate_may_be_a_pipe():
    with piped(b"{}\n") as path, pytest.raises(GuardError, match="nowhere: no model there"):
        cli.app(["moderate", "--model", "nowhere", "--input", path], standalone_mode=False)


def test_a_grid_comes_from_a_pipe():
    with piped(b"recipe: x\nunknown: 1\n") as path, pytest.raises(ConfigError, match="unknown: no such key"):
        cli.app(["ablate", path], standalone_mode=False)


def test_a_corpus_cannot_come_from_a_pipe_and_the_reason_is_said():
    with piped(b"PAR1") as path, pytest.raises(DataError, match="parquet is read from its end; write it to a file"):
        io.count(io.Path(path))


@pytest.mark.parametrize("command", [["moderate", "--model", "m", "--input"], ["eval", "--predictions"]])
@pytest.mark.parametrize("name", [".", "missing.jsonl"])
def test_a_folder_and_a_missing_file_are_refused(tmp_path, monkeypatch, command, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file or pipe"):
        cli.app([*command, name], standalone_mode=False)


@pytest.mark.parametrize(
    "name", ["scan:12.png", "data:x.png", "http:a.png", "a [v1].png", "é.png", "snapshots/sign.png"]
)
def test_an_image_named_by_a_person_is_read(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blobs").mkdir()
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "blobs" / "0f").write_bytes(make_png())
    (tmp_path / "snapshots" / "sign.png").symlink_to("../blobs/0f")
    if not name.startswith("snapshots"):
        (tmp_path / name).write_bytes(make_png())
    assert images.read_named(images.Path(name)) == make_png()


def test_an_image_named_by_a_person_may_be_a_pipe():
    with piped(make_png()) as path:
        assert images.read_named(images.Path(path)) == make_png()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://example.org/a.png", "URLs are not fetched"),
        ("missing.png", "FileNotFoundError"),
        (".", "IsADirectoryError"),
        ("/dev/null", "0 bytes"),
        ("/dev/zero", "exceed the limit"),
    ],
)
def test_what_is_no_image_is_refused_and_named(name, words):
    with pytest.raises(DataError) as caught:
        images.read_named(images.Path(name))
    assert str(images.Path(name)) in str(caught.value)
    assert words in str(caught.value)


def test_names_with_markup_reach_the_screen_as_they_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd [v1] :fire: m[bold].jsonl").write_bytes(line(PREDICTION))
    cli.app(["eval", "--predictions", "odd [v1] :fire: m[bold].jsonl"], standalone_mode=False)
    assert capsys.readouterr().out.startswith("odd [v1] :fire: m[bold].jsonl  1 samples")
    make_run(tmp_path / "demo [final]")
    cli.app(["report", "demo [final]"], standalone_mode=False)
    assert "demo [final]/report.html" in capsys.readouterr().out


@pytest.fixture
def alone(monkeypatch):
    for name in ("RAY_ADDRESS", "RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


LONGEST = jobs.SOCKET_BYTES - len(jobs.SOCKET) - 1


def test_the_longest_socket_of_ray_has_just_room():
    utils = pytest.importorskip("ray._private.utils")
    utils.validate_socket_filepath(f"/{'x' * (LONGEST - 1)}/{jobs.SOCKET}")
    with pytest.raises(OSError, match="AF_UNIX"):
        utils.validate_socket_filepath(f"/{'x' * LONGEST}/{jobs.SOCKET}")


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize(
    "folder", ["/" + "x" * LONGEST, "/" + "é" * (LONGEST // 2 + 1)], ids=["ASCII", "two bytes each"]
)
def test_a_folder_too_long_for_rays_sockets_is_refused_before_anything_is_started(alone, name, folder):
    alone.setenv(name, folder)
    with pytest.raises(ConfigError, match=rf"^{name}=/.*set RAY_TMPDIR=/tmp$"):
        jobs.check_sockets("mine")


@pytest.mark.parametrize("command", ["pipeline", "ablate"])
def test_the_folder_is_refused_before_the_first_stage_of_many(alone, tmp_path, command):
    alone.setenv("TMPDIR", "/" + "x" * LONGEST)
    what = ["length"] if command == "ablate" else ["guardreasoner_vl", "model=tiny"]
    with pytest.raises(ConfigError, match=r"^TMPDIR=/.*set RAY_TMPDIR=/tmp$"):
        cli.app([command, *what, f"run={tmp_path / 'run'}"], standalone_mode=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("kind", "variables"),
    [
        pytest.param("mine", {"TMPDIR": "/" + "x" * (LONGEST - 1)}, id="the longest that does"),
        pytest.param("mine", {"TMPDIR": "/" + "x" * 80, "RAY_TMPDIR": "/tmp"}, id="Ray's own variable comes first"),
        pytest.param("mine", {"TMPDIR": "/" + "x" * 80, "RAY_ADDRESS": "auto"}, id="a cluster that runs already"),
        pytest.param("concat", {"TMPDIR": "/" + "x" * 80}, id="a stage without Ray"),
        pytest.param("mine", {}, id="no variable"),
    ],
)
def test_other_folders_are_not(alone, kind, variables):
    for name, value in variables.items():
        alone.setenv(name, value)
    jobs.check_sockets(kind)
