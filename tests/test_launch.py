"""Stages in processes of their own: the record they leave, what is kept, and whose mistake a failure is."""

import json
import os

import psutil
import pytest

from gr_vl import compose, launch
from gr_vl.data import io
from gr_vl.errors import ConfigError, DataError, GuardError, StageError

pytestmark = pytest.mark.slow

SIZES = ["gr_vl.data.train=60", "gr_vl.data.validation=6", "gr_vl.data.test=6"]


def stage(name, run, *overrides):
    return compose.stage("guardreasoner_vl", name, ["model=tiny", f"run={run}", *overrides])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of the stages data and base, with the states that were seen on the way."""
    folder = tmp_path_factory.mktemp("launch") / "run"
    seen = {name: list(launch.launch(stage(name, folder, *more))) for name, more in (("data", SIZES), ("base", ()))}
    return folder, seen


@pytest.mark.parametrize("name", ["data", "base"])
def test_a_stage_leaves_its_record(run, name):
    folder, _ = run
    record = json.loads((folder / name / "stage.json").read_text())
    more = SIZES if name == "data" else []
    assert record["stage"] == record["kind"] == name
    assert record["config_hash"] == stage(name, folder, *more).hash
    assert 0 < record["seconds"] < 60
    # Memory is looked at once a second: a stage shorter than that may pass unseen.
    assert (0 if name == "data" else 0.1) <= record["peak_rss_gb"] < 8
    assert record["started"] <= record["finished"]
    assert record["counts"] == json.loads((folder / name / "counts.json").read_text())
    assert (folder / name / "stage.log").is_file()


def test_the_record_of_the_corpus_counts_rows_and_classes(run):
    folder, _ = run
    counts = json.loads((folder / "data" / "stage.json").read_text())["counts"]
    assert [counts[split]["n"] for split in ("train", "validation", "test")] == [60, 6, 6]
    assert len(io.read(folder / "data" / "train.parquet")) == 60
    # Modalities and request labels take turns.
    assert counts["train"]["image/prompt/harmful"] == counts["train"]["text/prompt/unharmful"] == 10


def test_a_run_tells_what_it_is_and_on_what_it_runs(run):
    record = json.loads((run[0] / "run.json").read_text())
    assert (record["recipe"], record["model"], record["seed"]) == ("guardreasoner_vl", "tiny", 1)
    assert record["machine"]["cores"] == os.cpu_count()
    assert record["versions"]["python"].startswith("3.")


def test_states_are_seen_while_a_stage_runs(run):
    _, seen = run
    assert seen["base"]
    assert seen["base"][0].note == "starting"
    assert seen["base"][-1].peak_rss_gb >= seen["base"][0].peak_rss_gb


def test_a_finished_stage_is_done_and_another_is_not(run):
    folder, _ = run
    assert launch.is_done(stage("data", folder, *SIZES))
    assert not launch.is_done(stage("sft", folder))


def test_other_settings_in_the_same_folder_are_refused(run):
    folder, _ = run
    other = stage("data", folder, *SIZES, "seed=5", "gr_vl.data.train=61")
    message = r"gr_vl\.data\.train=61: .*data was made with 60 \(and 1 more keys differ\); choose another run=DIR"
    for attempt in (launch.is_done, lambda stage: list(launch.launch(stage))):
        with pytest.raises(ConfigError, match=message):
            attempt(other)
    assert launch.is_done(stage("data", folder, *SIZES))


def test_a_check_fails_before_anything_is_written(tmp_path):
    with pytest.raises(DataError, match=r"data/train\.parquet: no such file"):
        list(launch.launch(stage("base", tmp_path / "run")))
    assert not (tmp_path / "run").exists()


def test_a_dashboards_address_is_told_from_a_clusters(tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "http://localhost:8265")
    with pytest.raises(ConfigError, match=r"RAY_ADDRESS=http://localhost:8265 is a dashboard.* gr-vl submit data"):
        list(launch.launch(stage("data", tmp_path / "run", *SIZES)))
    assert not (tmp_path / "run").exists()


def test_a_mistake_found_inside_the_stage_is_the_callers(tmp_path):
    corpus = tmp_path / "mine" / "hard.parquet"
    io.write(corpus, [])
    table = io.pq.read_table(corpus).drop(["images"])
    io.pq.write_table(table, corpus)
    with pytest.raises(GuardError, match=r"^.*hard\.parquet: lacks the columns images; build it with `gr-vl data`$"):
        list(launch.launch(stage("concat", tmp_path)))
    assert not (tmp_path / "concat" / "stage.json").exists()


def test_a_failure_of_the_stage_names_its_log_and_the_next_attempt_may_succeed(tmp_path, run):
    io.write(tmp_path / "mine" / "hard.parquet", io.read(run[0] / "data" / "test.parquet"))
    obstacle = tmp_path / "concat" / "train.parquet" / "a folder where a file has to be"
    obstacle.mkdir(parents=True)
    log = tmp_path / "concat" / "stage.log"
    message = r"stage concat failed with exit code 1: .*Error: .* \(log: .*/stage\.log\)"
    with pytest.raises(StageError, match=message) as caught:
        list(launch.launch(stage("concat", tmp_path)))
    assert "IsADirectoryError" in str(caught.value)
    assert "Traceback" in log.read_text()
    assert not launch.is_done(stage("concat", tmp_path))
    obstacle.rmdir()
    obstacle.parent.rmdir()
    list(launch.launch(stage("concat", tmp_path)))
    assert launch.is_done(stage("concat", tmp_path))
    # 6 samples and the 1.5 pairs, rounded to even, that make 20%.
    assert len(io.read(tmp_path / "concat" / "train.parquet")) == 8


def test_leaving_a_stage_ends_its_processes(tmp_path, run):
    corpus = tmp_path / "data" / "train.parquet"
    corpus.parent.mkdir()
    corpus.symlink_to(run[0] / "data" / "train.parquet")
    before = set(psutil.Process().children(recursive=True))
    states = launch.launch(stage("base", tmp_path))
    next(states)
    started = set(psutil.Process().children(recursive=True)) - before
    assert len(started) == 1
    states.close()
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in started)
    assert not launch.is_done(stage("base", tmp_path))


def test_progress_is_read_from_metrics_of_every_attempt(tmp_path):
    folder = tmp_path / "sft"
    folder.mkdir()
    lines = [{"step": step, "data": {"train/loss": 4.0 / step}} for step in (1, 2)]
    (folder / "metrics-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 3, "da')
    composed = stage("sft", tmp_path)
    assert launch._progress(composed, {"steps": 8}) == (2, 8, "loss 2")
    (folder / "metrics-1.jsonl").write_text(json.dumps({"step": 3, "data": {"val/loss": 1.0}}) + "\n")
    assert launch._progress(composed, {"steps": 8}) == (3, 8, "loss 2")
