"""Checkpoints on a real disk with planted damage: the newest whole one is found, and step 0 is never silent."""

import json
import os
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gr_vl import checkpoints
from gr_vl.checkpoints import ASIDE, MARK, POINTER
from gr_vl.errors import DataError


def save(root, step, *, whole=True):
    """A checkpoint as RL writes it."""
    folder = root / f"global_step_{step}"
    (folder / "actor").mkdir(parents=True)
    for name in ("actor/model.pt", "actor/optim.pt", "data.pt"):
        (folder / name).write_text(f"{name} of step {step}")
    if whole:
        checkpoints.mark(folder, step, tokens=10 * step)
        checkpoints.point(root, step)
    return folder


def truncate(folder):
    os.truncate(folder / "actor" / "optim.pt", 3)


def remove_a_file(folder):
    (folder / "actor" / "model.pt").unlink()


def tear_the_mark(folder):
    (folder / MARK).write_text('{"step": 4, "fi')


def claim_another_step(folder):
    record = json.loads((folder / MARK).read_text())
    (folder / MARK).write_text(json.dumps(record | {"step": 3}))


def list_nothing(folder):
    (folder / MARK).write_text('{"step": 4, "files": {}, "facts": {}}')


def never_mark(folder):
    (folder / MARK).unlink()


DAMAGE = [
    pytest.param(truncate, r"actor/optim\.pt has 3 of 24 bytes", id="a file was cut"),
    pytest.param(remove_a_file, r"actor/model\.pt is missing", id="a file is gone"),
    pytest.param(tear_the_mark, r"complete\.json cannot be read", id="the mark is torn"),
    pytest.param(claim_another_step, "is that of step 3", id="the folder was renamed"),
    pytest.param(list_nothing, "lists no files", id="the mark is empty"),
    pytest.param(never_mark, "its save never ended", id="the save was killed"),
]


def test_a_marked_checkpoint_is_whole_and_carries_its_facts(tmp_path):
    folder = save(tmp_path, 4)
    assert checkpoints.damage(folder) is None
    assert checkpoints.newest(tmp_path) == checkpoints.Checkpoint(4, folder, {"tokens": 40})
    assert json.loads((folder / MARK).read_text())["files"] == {
        "actor/model.pt": 24,
        "actor/optim.pt": 24,
        "data.pt": 17,
    }
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize(("plant", "words"), DAMAGE)
def test_the_newest_whole_checkpoint_is_resumed_and_a_damaged_one_is_set_aside(tmp_path, plant, words, caplog):
    save(tmp_path, 2)
    plant(save(tmp_path, 4))
    found = checkpoints.settle(tmp_path)
    assert (found.step, found.facts) == (2, {"tokens": 20})
    assert (tmp_path / POINTER).read_text() == "2"
    assert (tmp_path / ASIDE / "global_step_4-0" / "data.pt").is_file()
    assert not (tmp_path / "global_step_4").exists()
    assert len(caplog.messages) == 2


@pytest.mark.parametrize(("plant", "words"), DAMAGE[:-1])
def test_a_run_whose_only_checkpoint_is_damaged_is_not_started_again(tmp_path, plant, words):
    plant(save(tmp_path, 4))
    with pytest.raises(DataError, match=rf"no checkpoint is whole \(global_step_4: .*{words}.*remove .* from step 0"):
        checkpoints.settle(tmp_path)
    assert (tmp_path / "global_step_4").is_dir()


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(None, id="the pointer is missing"),
        pytest.param("", id="the pointer is empty"),
        pytest.param("1", id="the pointer was cut from 10"),
        pytest.param("\x00\x00", id="the pointer is torn"),
        pytest.param("12", id="the pointer names a folder that is not there"),
        pytest.param("2", id="the pointer names an older one"),
    ],
)
def test_the_pointer_is_not_believed(tmp_path, text):
    for step in (2, 10):
        save(tmp_path, step)
    (tmp_path / POINTER).unlink() if text is None else (tmp_path / POINTER).write_text(text)
    assert checkpoints.settle(tmp_path).step == 10
    assert (tmp_path / POINTER).read_text() == "10"


def test_a_first_save_that_was_killed_starts_again_and_keeps_its_rest(tmp_path, caplog):
    for attempt in range(2):
        save(tmp_path, 2, whole=False)
        (tmp_path / POINTER).write_text("2")
        assert checkpoints.settle(tmp_path) is None
        assert not (tmp_path / POINTER).exists()
        assert (tmp_path / ASIDE / f"global_step_2-{attempt}" / "data.pt").is_file()
        assert "its save never ended" in caplog.text


def test_a_pointer_without_any_checkpoint_is_an_error_and_an_empty_folder_is_a_start(tmp_path):
    assert checkpoints.settle(tmp_path / "none") is None
    (tmp_path / POINTER).write_text("8")
    lost = r"latest_checkpointed_iteration\.txt says '8', but no such checkpoint is there"
    with pytest.raises(DataError, match=lost):
        checkpoints.settle(tmp_path)
    # A later save that was killed does not make up for it.
    save(tmp_path, 10, whole=False)
    with pytest.raises(DataError, match=lost):
        checkpoints.settle(tmp_path)


@pytest.mark.parametrize(
    ("keep", "left"),
    [
        pytest.param(None, [1, 2, 10], id="all are kept"),
        pytest.param(2, [2, 10], id="the two newest"),
        pytest.param(1, [10], id="the newest"),
        pytest.param(0, [10], id="never none"),
        pytest.param(5, [1, 2, 10], id="fewer than allowed"),
    ],
)
def test_old_checkpoints_are_removed_and_unmarked_ones_are_not_counted(tmp_path, keep, left):
    for step in (1, 2, 10):
        save(tmp_path, step)
    save(tmp_path, 12, whole=False)
    checkpoints.prune(tmp_path, keep)
    assert sorted(int(path.name.split("_")[-1]) for path in tmp_path.glob("global_step_*")) == [*left, 12]


def test_a_removal_that_was_killed_is_finished_and_never_counts(tmp_path):
    save(tmp_path, 1).rename(tmp_path / "global_step_1.doomed")
    save(tmp_path, 2)
    assert checkpoints.settle(tmp_path).step == 2
    assert [path.name for path in tmp_path.glob("global_step_*")] == ["global_step_2"]


class Killed(Exception):
    """Stands for SIGKILL: nothing after it happens."""


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_kill_at_any_operation_of_a_save_leaves_the_old_checkpoint_or_the_new_one(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("kill")
    keep = data.draw(st.sampled_from([1, 2, None]))
    for step in (1, 2):
        save(root, step)
        checkpoints.prune(root, keep)
    at = data.draw(st.integers(0, 30))
    count = 0

    def trace(event, _):
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir"):
            count += 1
            if count > at and armed:
                raise Killed

    armed = True
    _hooks.append(trace)
    try:
        save(root, 3)
        checkpoints.prune(root, keep)
    except Killed:
        pass
    finally:
        armed = False
        _hooks.remove(trace)
    found = checkpoints.settle(root)
    assert found.step in (2, 3)
    assert checkpoints.damage(found.folder) is None
    assert (root / POINTER).read_text() == str(found.step)


_hooks = []


def _audit(event, args):
    for hook in list(_hooks):
        hook(event, args)


sys.addaudithook(_audit)
