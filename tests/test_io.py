"""Parquet in and out: nothing is lost, and a broken file is named down to the row."""

import os
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import HARMFUL, UNHARMFUL, make_sample

from gr_vl.data import io
from gr_vl.errors import DataError
from gr_vl.schema import Label, Sample, Task

FULL = Sample(
    id="full",
    source="test",
    prompt="a question\0with a NUL, 日本語",
    response="",
    images=(b"\x89PNG", b"\0\xff"),
    labels={Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL, Task.REFUSAL: Label.REFUSAL},
    reasoning="# Task 1\n\nstep",
    taught={Task.REFUSAL: Label.COMPLIANCE},
    policy="R1: one\nR2: two",
)
BARE = Sample(id="bare", source="test", prompt="")


def table(path, **columns):
    row = io.to_row(BARE, io.schema())
    rows = [row, {**row, **columns}]
    pq.write_table(pa.Table.from_pylist(rows, schema=io.schema()), path)
    return path


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param([FULL], id="everything known"),
        pytest.param([BARE], id="nothing known"),
        pytest.param([FULL, BARE] * 1500, id="several row groups"),
        pytest.param([], id="no samples"),
    ],
)
def test_samples_survive_the_file(tmp_path, samples):
    path = tmp_path / "deep" / "corpus.parquet"
    assert io.write(path, samples) == len(samples)
    assert io.read(path) == samples
    assert io.count(path) == len(samples)


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def broken():
        yield BARE
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError):
        io.write(tmp_path / "corpus.parquet", broken())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", [io.read, io.count])
def test_a_missing_file_is_named(tmp_path, function):
    with pytest.raises(DataError, match=r"nowhere\.parquet: no such file"):
        function(tmp_path / "nowhere.parquet")


def test_what_was_read_does_not_stay_in_memory(tmp_path):
    path, kilobytes = tmp_path / "corpus.parquet", 2**10
    with pq.ParquetWriter(path, io.schema()) as writer:
        for _ in range(60):
            rows = [io.to_row(replace(BARE, images=(os.urandom(8 * kilobytes),)), io.schema()) for _ in range(io.READ)]
            writer.write_table(pa.Table.from_pylist(rows, schema=io.schema()))
    before = pa.total_allocated_bytes()
    most = max(pa.total_allocated_bytes() for _ in io.iterate(path))
    assert path.stat().st_size > 60_000 * kilobytes
    assert most - before < 10_000 * kilobytes


@pytest.mark.parametrize("content", [b"", b"not parquet"], ids=["an empty file", "some other file"])
def test_a_file_of_another_kind_is_named(tmp_path, content):
    path = tmp_path / "corpus.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"corpus\.parquet: not a parquet file"):
        io.read(path)


def test_missing_columns_are_listed(tmp_path):
    path = tmp_path / "corpus.parquet"
    pq.write_table(pq.read_table(table(path)).drop(["prompt", "images"]), path)
    with pytest.raises(DataError, match="lacks the columns images, prompt;"):
        io.read(path)


def test_a_task_without_a_column_is_unknown(tmp_path):
    path = tmp_path / "corpus.parquet"
    sample = make_sample("a", HARMFUL, UNHARMFUL)
    io.write(path, [sample])
    pq.write_table(pq.read_table(path).drop(["prompt_label", "taught_response_label"]), path)
    assert io.read(path) == [replace(sample, labels={Task.RESPONSE: UNHARMFUL})]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("prompt_label", "harmful or unharmful"),
        ("response_label", "harmful or unharmful"),
        ("refusal_label", "refusal or compliance"),
        ("taught_refusal_label", "refusal or compliance"),
    ],
)
def test_a_bad_label_is_found_by_its_row(tmp_path, column, words):
    path = table(tmp_path / "corpus.parquet", **{column: "dubious"})
    with pytest.raises(DataError, match=rf"corpus\.parquet: row 1: {column}: 'dubious'.*{words}"):
        io.read(path)
