"""An index stands for rows of a corpus: whatever reads the one reads the other, wherever the folder of both is."""

import shutil
from dataclasses import replace

import pytest
from factories import make_sample

from gr_vl import dialects
from gr_vl.augment import preference
from gr_vl.data import index, io
from gr_vl.errors import DataError
from gr_vl.schema import Task

SAMPLES = [make_sample(f"s{number}", images=(bytes([number % 251]),)) for number in range(300)]


def make(folder, rows):
    """An index of these rows, in another folder than its corpus."""
    corpus, path = folder / "data" / "train.parquet", folder / "mine" / "hard.parquet"
    io.write(corpus, SAMPLES)
    return index.write(path, corpus, [(row, SAMPLES[row].id) for row in rows])


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([0, 127, 128, 299], id="some rows, across batches"),
        pytest.param(list(range(300)), id="every row"),
        pytest.param([299, 3, 128, 4, 0], id="rows in another order than the corpus"),
        pytest.param([], id="no row"),
    ],
)
def test_an_index_is_read_as_a_copy_of_its_rows_would_be(tmp_path, rows):
    path = make(tmp_path, rows)
    wanted = [SAMPLES[row] for row in rows]
    assert io.read(path) == wanted
    assert io.ids(path) == [sample.id for sample in wanted]
    assert io.count(path) == len(wanted)
    starts = [(start, len(batch)) for start, batch in io.batches(path) if len(batch)]
    assert [start for start, _ in starts] == [sum(number for _, number in starts[:i]) for i in range(len(starts))]


def test_an_index_of_an_index_names_the_corpus_itself(tmp_path):
    outer = make(tmp_path, [299, 3, 128])
    inner = tmp_path / "rl" / "train" / "kept.parquet"
    index.write(inner, outer, [(0, "s299"), (2, "s128")])
    shutil.rmtree(outer.parent)
    assert io.read(inner) == [SAMPLES[299], SAMPLES[128]]
    assert [file.resolve() for file in io.files(inner)] == [inner, tmp_path / "data" / "train.parquet"]


def test_of_rows_with_one_id_the_row_that_was_named_is_read(tmp_path):
    twin = replace(SAMPLES[0], prompt="another")
    io.write(tmp_path / "corpus.parquet", [SAMPLES[0], twin, SAMPLES[1]])
    index.write(tmp_path / "kept.parquet", tmp_path / "corpus.parquet", [(1, twin.id), (2, "s1")])
    assert io.read(tmp_path / "kept.parquet") == [twin, SAMPLES[1]]


def test_pairs_are_indexed_with_what_they_have_beside_the_sample(tmp_path):
    pairs = [preference.Preference(sample, Task.PROMPT, "good", "bad", True, 1, 1) for sample in SAMPLES[:3]]
    preference.write(tmp_path / "pairs.parquet", pairs, dialects.spec("guardreasoner_vl"))
    index.write(tmp_path / "kept.parquet", tmp_path / "pairs.parquet", [(0, "s0"), (2, "s2")])
    assert preference.read(tmp_path / "kept.parquet") == [pairs[0], pairs[2]]


def test_a_run_folder_that_is_moved_still_works(tmp_path):
    make(tmp_path / "run", [1, 2])
    shutil.move(tmp_path / "run", tmp_path / "moved")
    assert io.read(tmp_path / "moved" / "mine" / "hard.parquet") == SAMPLES[1:3]


def test_a_run_folder_that_is_moved_still_finds_a_corpus_outside_of_it(tmp_path):
    corpus = tmp_path / "corpora" / "test.parquet"
    io.write(corpus, SAMPLES)
    index.write(tmp_path / "runs" / "one" / "eval" / "test.parquet", corpus, [(1, "s1")])
    (tmp_path / "far" / "away").mkdir(parents=True)
    shutil.move(tmp_path / "runs" / "one", tmp_path / "far" / "away" / "one")
    assert io.read(tmp_path / "far" / "away" / "one" / "eval" / "test.parquet") == [SAMPLES[1]]


@pytest.mark.parametrize("linked", ["data", "mine"])
def test_a_folder_of_the_run_may_be_a_link(tmp_path, linked):
    (tmp_path / "elsewhere" / linked).mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / linked).symlink_to(tmp_path / "elsewhere" / linked)
    assert io.read(make(tmp_path / "run", [1, 2])) == SAMPLES[1:3]


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(SAMPLES[1:], id="another order"),
        pytest.param(SAMPLES[:2], id="fewer rows"),
        pytest.param([], id="no rows"),
    ],
)
def test_a_corpus_with_other_rows_than_those_that_were_indexed_is_refused(tmp_path, now):
    path = make(tmp_path, [1, 5])
    io.write(tmp_path / "data" / "train.parquet", now)
    with pytest.raises(DataError, match=r"hard\.parquet: \S*train\.parquet has other rows by now; make the index"):
        io.read(path)


def test_a_corpus_that_is_gone_is_named_with_its_index(tmp_path):
    path = make(tmp_path, [1, 5])
    (tmp_path / "data" / "train.parquet").unlink()
    with pytest.raises(DataError, match=r"hard\.parquet: names rows of \S*train\.parquet, where no file is; bring it"):
        io.read(path)
