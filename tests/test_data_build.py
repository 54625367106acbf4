"""A corpus is the same whatever happens on the way, every row is accounted for, and growth moves nothing."""

import dataclasses
import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import mixtures
import pytest
from factories import make_sample
from hypothesis import given, settings
from hypothesis import strategies as st

from gr_vl.data import io, sources
from gr_vl.data.build import sampling
from gr_vl.data.build.recipe import Draw
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Task

ONE = "{seed: 1, dialect: guardreasoner_vl, splits: {train: 1.0}, max_bad_share: 0.5, parts: {all: {sources: {s: s}}}}"


def manifest(out):
    return json.loads((out / "manifest.json").read_text())


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def clean_rows():
    return mixtures.make_rows("s", 70)


@pytest.fixture(scope="module")
def clean(tmp_path_factory, clean_rows):
    out = tmp_path_factory.mktemp("clean") / "out"
    mixtures.build(out, [mixtures.make_source("s", clean_rows)], ONE)
    return out


def test_everything_good_is_kept_in_order(clean, clean_rows):
    assert io.read(clean / "train.parquet") == clean_rows
    row = manifest(clean)["sources"]["s"]
    assert (row["rows"], row["kept"], row["quarantined"], row["removed"]) == (70, 70, {}, {})
    assert manifest(clean)["all"]["by_modality"] == {"image": 23, "text": 24, "text_image": 23}


def test_of_a_corpus_with_30_percent_corrupt_rows_the_good_ones_are_those_of_a_clean_build(tmp_path, clean, clean_rows):
    mixed = [*clean_rows, *mixtures.make_broken("s", 30), dataclasses.replace(clean_rows[0], prompt="Taken id")]
    random.Random(1).shuffle(mixed)
    mixed.sort(key=lambda row: clean_rows.index(row) if row in clean_rows else 35)
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", mixed)], ONE)
    assert (tmp_path / "out/train.parquet").read_bytes() == (clean / "train.parquet").read_bytes()
    bad = lines(tmp_path / "out/quarantine.jsonl")
    found = manifest(tmp_path / "out")["sources"]["s"]
    assert (found["rows"], found["kept"], len(bad)) == (101, 70, 31)
    assert sum(found["quarantined"].values()) == 31
    assert len(found["quarantined"]) == 10
    assert all({"source", "file", "row", "field", "value", "reason", "fix"} <= row.keys() for row in bad)


def test_too_many_corrupt_rows_stop_the_build_and_name_the_source(tmp_path, clean_rows):
    rows = [*clean_rows, *mixtures.make_broken("s", 30)]
    text = ONE.replace("0.5", "0.29")
    with pytest.raises(DataError, match=r"s: 30 of 100 rows cannot be used \(image cannot be decoded: \d.*0\.29"):
        mixtures.build(tmp_path / "out", [mixtures.make_source("s", rows)], text)
    assert len(lines(tmp_path / "out/quarantine.jsonl")) == 30
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.slow
def test_a_rebuild_and_another_number_of_workers_change_nothing(tmp_path, clean, clean_rows):
    before = mixtures.made(clean)
    for left in ("train.part", "manifest.json.part", "work/0.part"):  # by one that was killed while it wrote
        (clean / left).write_bytes(b"half")
    (clean / "manifest.json").unlink()
    mixtures.build(clean, [mixtures.make_source("s", clean_rows)], ONE)
    assert mixtures.made(clean) == before
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", clean_rows)], ONE, processes=2)
    assert mixtures.made(tmp_path / "out") == before


def test_a_rebuild_that_is_refused_leaves_neither_manifest_nor_dropped_split(tmp_path, clean_rows):
    two = ONE.replace("train: 1.0", "train: 0.5, validation: 0.5")
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", clean_rows)], two)
    for name in ("validation.lengths.parquet", "mine.parquet"):
        (tmp_path / "out" / name).write_bytes(b"")
    bad = mixtures.make_source("s", mixtures.make_broken("s", 30))
    with pytest.raises(DataError, match="cannot be used"):
        mixtures.build(tmp_path / "out", [bad], ONE)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    assert "manifest.json" not in left
    assert {name for name in left if name.endswith(".parquet")} == {"train.parquet", "mine.parquet"}


@pytest.mark.parametrize("kept", [0, 900], ids=["an empty shard", "half a shard"])
def test_a_shard_that_is_not_whole_is_made_again(tmp_path, clean, clean_rows, kept):
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", clean_rows)], ONE)
    [shard] = (tmp_path / "out/work").iterdir()
    shard.write_bytes(shard.read_bytes()[:kept])
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", clean_rows)], ONE)
    assert mixtures.made(tmp_path / "out") == mixtures.made(clean)


def test_the_same_sources_in_another_folder_have_the_same_manifest(tmp_path):
    found = []
    for place in ("here", "there"):
        folder = tmp_path / place / "s"
        folder.mkdir(parents=True)
        (folder / "a.jsonl").write_text('{"messages": [{"role": "user", "content": "hi"}], "prompt_label": "safe"}\n')
        source = dataclasses.replace(sources.get("openai_messages"), name="s")
        mixtures.build(tmp_path / place / "out", [source], ONE, folder=tmp_path / place)
        found.append(mixtures.made(tmp_path / place / "out"))
    assert found[0] == found[1]
    digest = hashlib.sha256((folder / "a.jsonl").read_bytes()).hexdigest()
    assert found[0]["inputs.sha256"].decode() == f"{digest}  s/a.jsonl\n"


def test_two_builds_do_not_write_to_one_folder(clean, clean_rows):
    import fcntl

    with (clean / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ConfigError, match="another build writes there"):
            mixtures.build(clean, [mixtures.make_source("s", clean_rows)], ONE)


def test_a_source_without_rows_is_named(tmp_path):
    with pytest.raises(DataError, match="s has no rows there"):
        mixtures.build(tmp_path / "out", [mixtures.make_source("s", [])], ONE)


def test_a_source_that_changes_between_two_readings_stops_the_build(tmp_path, clean_rows):
    source, readings = mixtures.make_source("s", []), iter([clean_rows, clean_rows[::-1]])
    changing = dataclasses.replace(source, read=lambda folder: iter(next(readings)))
    with pytest.raises(DataError, match="row 0 has changed"):
        mixtures.build(tmp_path / "out", [changing], ONE)


def test_what_a_benchmark_asks_is_found_and_left_out(tmp_path, clean_rows):
    text, image, both = clean_rows[0], clean_rows[1], clean_rows[2]
    benchmark = [
        dataclasses.replace(text, id="b0", prompt=f"  {text.prompt.upper()}", response=None),
        dataclasses.replace(image, id="b1"),
        dataclasses.replace(both, id="b2", response="Another."),
        make_sample("b3", prompt="nothing of this stands in the training rows"),
    ]
    recipe = ONE.replace("}}}}", "}}}, benchmarks: {b: b}}")
    given = [mixtures.make_source("s", clean_rows), mixtures.make_source("b", benchmark, benchmark=True)]
    mixtures.build(tmp_path / "out", given, recipe)
    assert io.read(tmp_path / "out/train.parquet") == clean_rows[3:]
    report = json.loads((tmp_path / "out/contamination.json").read_text())["benchmarks"]["b"]
    assert (report["rows"], report["rows_found_in_train"], report["exact"], report["near"]) == (4, 3, 3, 0)
    removed = lines(tmp_path / "out/removed.jsonl")
    assert [(row["id"], row["of"]["id"], row["reason"]) for row in removed] == [
        ("s0", "b0", "contaminated"),
        ("s1", "b1", "contaminated"),
        ("s2", "b2", "contaminated"),
    ]
    assert "| b | 4 | 3 | 3 | 0 | s 3 |" in (tmp_path / "out/contamination.md").read_text()


def test_draws_take_what_they_say(tmp_path):
    rows = mixtures.make_rows("s", 60)
    recipe = """{seed: 1, dialect: guardreasoner_vl, splits: {train: 1.0}, parts: {
      one: {draw: 12, sources: {s: {folder: s, draw: {text: 10, image/prompt/harmful: all}}}},
      two: {draw: 99, sources: {t: {folder: t, draw: 0.0}, u: u}}}}"""
    others = [mixtures.make_source(name, mixtures.make_rows(name, 60)) for name in "tu"]
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", rows), *others], recipe)
    found = manifest(tmp_path / "out")
    assert found["all"]["by_source"] == {"s": 12, "u": 60}
    assert found["missing"] == {"parts.two/all": 39}
    assert {sample.modality for sample in io.read(tmp_path / "out/train.parquet") if sample.source == "s"} == {
        "text",
        "image",
    }


KEYS = st.lists(st.binary(min_size=16, max_size=16), unique=True, min_size=1, max_size=60)


@given(KEYS, st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_a_source_that_grows_moves_no_split_and_never_brings_back_what_was_not_drawn(keys, number, cut):
    splits = {"train": 0.5, "validation": 0.25, "test": 0.25}
    before = keys[: cut % len(keys) + 1]
    ranks = {row: sampling.rank(1, "part", key) for row, key in enumerate(keys)}
    labels: list[dict[Task, Label]] = [{}] * len(keys)
    few, many = (
        set(sampling.draw(range(len(part)), Draw({"": number}), ranks, ["text"] * len(keys), labels)[0])
        for part in (before, keys)
    )
    assert many & set(range(len(before))) <= few
    assert len(few) == min(number, len(before))
    assert len(few - many) <= len(keys) - len(before)
    assert all(sampling.split_of(1, key, splits) in splits for key in keys)


@given(st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_shares_of_splits_are_about_those_asked_for(seed):
    splits = {"train": 0.8, "none": 0.0, "test": 0.2}
    drawn = [sampling.split_of(seed, i.to_bytes(2, "big"), splits) for i in range(800)]
    assert "none" not in drawn
    assert 0.7 < drawn.count("train") / 800 < 0.9


def test_all_responses_to_a_request_share_its_split(tmp_path):
    rows = [
        make_sample(f"s{i}-{j}", source="s", prompt=f"Question number {i}", response=f"Answer {j} " * 5)
        for i in range(30)
        for j in range(3)
    ]
    recipe = ONE.replace("train: 1.0", "train: 0.5, test: 0.5")
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", rows)], recipe)
    splits = [{sample.prompt for sample in io.read(tmp_path / f"out/{name}.parquet")} for name in ("train", "test")]
    assert min(map(len, splits)) > 5
    assert not splits[0] & splits[1]


@pytest.mark.slow
def test_killed_twice_and_run_again_a_build_gives_the_same_bytes(tmp_path):
    command = [sys.executable, str(Path(mixtures.__file__))]
    mixtures.main(tmp_path / "whole")
    draw = random.Random(4)
    for _ in range(2):
        process = subprocess.Popen([*command, str(tmp_path / "killed")])
        work = tmp_path / "killed" / "work"
        wanted = len(list(work.glob("*.arrow"))) + 1
        while process.poll() is None and len(list(work.glob("*.arrow"))) < wanted:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "killed/manifest.json").exists()
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "killed/work").glob("*.arrow")}
    assert len(kept) >= 2
    mixtures.main(tmp_path / "killed")
    assert mixtures.made(tmp_path / "killed") == mixtures.made(tmp_path / "whole")
    assert {name: (tmp_path / "killed/work" / name).stat().st_mtime_ns for name in kept} == kept


THREE = {Task.PROMPT: Label.HARMFUL, Task.REFUSAL: Label.REFUSAL, Task.RESPONSE: Label.UNHARMFUL}


def taught(id, reasoning):
    """A row with the labels of three tasks, and reasoning."""
    row = make_sample(id, prompt=f"What is {id}?", response="No.", reasoning=reasoning)
    return dataclasses.replace(row, labels=THREE)


@pytest.mark.parametrize(
    ("reasoning", "dialect", "kept"),
    [
        pytest.param("a\nAnswers:\nb", "guardreasoner", False, id="a line that opens the answers of three tasks"),
        pytest.param("a\nAnswers:\nb", "guardreasoner_vl", True, id="the same, where a tag opens them"),
        pytest.param("a </think> b", "guardreasoner", True, id="a tag, where none ends the reasoning"),
        pytest.param("a </think> b", "guardreasoner_vl", False, id="a tag that ends the reasoning"),
        pytest.param("a </think> b", "rsafe", False, id="the same, where a verdict is about one task"),
        pytest.param("a\nAnswers:\nb", "rsafe", True, id="a line that means nothing there"),
    ],
)
def test_reasoning_is_examined_under_the_dialect_of_the_mixture(tmp_path, reasoning, dialect, kept):
    row = taught("a", reasoning)
    good = taught("b", "b")
    mixture = ONE.replace("guardreasoner_vl", dialect)
    mixtures.build(tmp_path / "out", [mixtures.make_source("s", [row, good])], mixture)
    assert (manifest(tmp_path / "out")["guard"]["dialect"], len(io.read(tmp_path / "out/train.parquet"))) == (
        dialect,
        1 + kept,
    )
    found = lines(tmp_path / "out/quarantine.jsonl")
    assert [bad["reason"] for bad in found] == ([] if kept else ["reasoning breaks the answer's grammar"])


def test_another_dialect_examines_every_row_again(tmp_path):
    row = taught("a", "a\nAnswers:\nb")
    for dialect, number in (("guardreasoner_vl", 2), ("guardreasoner", 1), ("guardreasoner_vl", 2)):
        good = taught("b", "b")
        mixture = ONE.replace("guardreasoner_vl", dialect)
        mixtures.build(tmp_path / "out", [mixtures.make_source("s", [row, good])], mixture)
        assert len(io.read(tmp_path / "out/train.parquet")) == number
