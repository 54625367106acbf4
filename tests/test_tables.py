"""Files of rows, whole and broken: every row read or reported, and no more than a piece of the file in memory."""

import gzip
import json
import pickle
import tracemalloc

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gr_vl.data import tables
from gr_vl.errors import Broken, DataError


def read(path):
    return list(tables.rows(path))


def broken(items):
    return [number for number, item in enumerate(items) if isinstance(item, Broken)]


ROWS = [{"a": "one", "b": "1"}, {"a": 'two, "2"\nlines', "b": ""}, {"a": "dr\u00e4i\u2028", "b": "3"}]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.json", "x.json.gz", "lines.json", "x.csv", "x.parquet"])
def test_every_kind_of_table_gives_its_rows(name, tmp_path):
    path = tmp_path / name
    if name == "x.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    elif name == "x.csv":
        path.write_text('a,b\r\none,1\r\n"two, ""2""\nlines",\r\ndr\u00e4i\u2028,3\r\n')
    else:
        lines = "jsonl" in name or name == "lines.json"
        text = "\n\n".join(map(json.dumps, ROWS)) if lines else json.dumps(ROWS, indent=4)
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    assert read(path) == ROWS


@pytest.mark.parametrize(
    ("name", "text", "wrong", "reason"),
    [
        pytest.param("x.jsonl", '{"a": 1}\n{"a": \n{"a": 2}\n', [1], "not JSON", id="half a line"),
        pytest.param("x.jsonl", '{"a": 1}\n[1]\n{"a": 2}\n', [1], "no object", id="a line that is a list"),
        pytest.param("x.jsonl", '{"a": 1}\n' + "[" * 99_999 + '\n{"a": 2}\n', [1], "not JSON", id="too deep a line"),
        pytest.param("x.json", '[{"a": 1}, 7, {"a": 2}]', [1], "no object", id="a number in an array"),
        pytest.param("x.csv", "a\n1\n2,3\n4\n", [1], "more cells", id="more cells than columns"),
        pytest.param("x.csv", "a,b\n1,2\n3\n4,5\n", [1], "fewer cells", id="fewer cells than columns"),
        pytest.param("x.csv", 'a,b\n1,2\n"3,4\n5,6\n', [1], "not CSV", id="a quote that nothing closes"),
        pytest.param("x.csv", 'a,b\n1,2\n"3,4\n"5\n\n6",7\n', [1], "not CSV", id="a quote that another row closes"),
        pytest.param("x.csv", 'a,b\n1,2\n"3"4,5\n6,7\n', [1], "not CSV", id="letters behind a quote"),
    ],
)
def test_a_broken_row_leaves_the_others(name, text, wrong, reason, tmp_path):
    path = tmp_path / name
    path.write_text(text)
    found = read(path)
    assert len(found) == 3
    assert broken(found) == wrong
    assert reason in found[wrong[0]].reason


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        pytest.param("x.txt", b"", "unknown kind of table; use one of: .parquet", id="another kind"),
        pytest.param("x.parquet", b"PAR1 and nothing more", "not a parquet file", id="no parquet"),
        pytest.param("x.json", b'[{"a": 1}, {"a": ', "row 1: not JSON from here on", id="half an array"),
        pytest.param("x.json", b'[{"a": 1}} {"a": 2}]', "row 1: not JSON from here on", id="a brace too many"),
        pytest.param("x.json", b"[" * 99_999, "row 0: not JSON from here on", id="too deep an array"),
        pytest.param("x.jsonl.gz", gzip.compress(b"{}\n" * 9)[:-9], "cannot be read", id="half an archive"),
        pytest.param("x.jsonl.gz", b"{}\n", "cannot be read", id="no archive"),
    ],
)
def test_a_file_that_makes_no_sense_is_one_error(name, data, reason, tmp_path):
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataError, match=reason):
        read(path)


def test_an_empty_file_has_no_rows(tmp_path):
    for name in ("x.jsonl", "x.csv"):
        (tmp_path / name).write_text("")
        assert read(tmp_path / name) == []
    (tmp_path / "x.json").write_text(" [ ] ")
    assert read(tmp_path / "x.json") == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("x.jsonl", '{"a": "1"}\n{"a": "' + "x" * 500 + '"}\n{"a": "2"}\n', id="JSON lines"),
        pytest.param("x.csv", "a\n1\n" + "x y " * 125 + "\n2\n", id="CSV"),
    ],
)
def test_a_line_beyond_the_limit_is_passed_over(name, text, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "MAX_ROW", 100)
    monkeypatch.setattr(tables, "CHUNK", 30)
    (tmp_path / name).write_text(text)
    found = read(tmp_path / name)
    assert broken(found) == [1]
    assert "a line of over 100 characters" in found[1].reason
    assert [found[0], found[2]] == [{"a": "1"}, {"a": "2"}]


def test_a_cell_of_many_characters_is_one_cell(tmp_path):
    long = "a " * tables.CHUNK
    (tmp_path / "x.csv").write_text(f'a,b\n{long},1\n"{long}\n\nb",2\n')
    assert read(tmp_path / "x.csv") == [{"a": long, "b": "1"}, {"a": f"{long}\n\nb", "b": "2"}]


def test_of_a_hundred_rows_an_open_quote_costs_one(tmp_path):
    rows = [f"request {number},x" for number in range(100)]
    rows[3] = '"request 3,x'
    (tmp_path / "x.csv").write_text("\n".join(["prompt,category", *rows]))
    found = read(tmp_path / "x.csv")
    assert (len(found), broken(found)) == (100, [3])
    assert (found[3].value, found[99]) == (repr('"request 3,x\n'), {"prompt": "request 99", "category": "x"})


def test_rows_of_open_quotes_take_no_more_than_their_number(tmp_path):
    (tmp_path / "x.csv").write_text("a\n" + '"a""\n' * 30_000)
    assert len(broken(read(tmp_path / "x.csv"))) == 30_000


def test_a_header_that_is_none_ends_the_file(tmp_path):
    (tmp_path / "x.csv").write_text('"a,b\n1,2\n')
    with pytest.raises(DataError, match=r"x\.csv: its header is not CSV"):
        read(tmp_path / "x.csv")


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 64])
def test_an_array_reads_alike_wherever_it_is_cut(chunk, tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK", chunk)
    (tmp_path / "x.json").write_text(json.dumps(ROWS * 5, indent=1))
    assert read(tmp_path / "x.json") == ROWS * 5


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "x.jsonl").write_bytes(b'{"a": "\xff"}\n')
    (tmp_path / "x.csv").write_bytes(b"\xef\xbb\xbfa\nx\0\xff\n")
    assert read(tmp_path / "x.jsonl") == [{"a": "\ufffd"}]
    assert read(tmp_path / "x.csv") == [{"a": "x\0\ufffd"}]
    binary = pa.array([b"one", b"\xff", b"three"], pa.binary())
    text = pa.StringArray.from_buffers(3, *binary.buffers()[1:])
    pq.write_table(pa.table({"n": [1, 2, 3], "a": text}), tmp_path / "x.parquet")
    found = read(tmp_path / "x.parquet")
    assert [found[0], found[2]] == [{"n": 1, "a": "one"}, {"n": 3, "a": "three"}]
    assert (found[1]["n"], found[1]["a"].field, found[1]["a"].reason) == (2, "a", "a text that is no UTF-8")


def test_a_large_array_is_never_whole_in_memory(tmp_path):
    row = json.dumps({"a": "x" * 2000})
    (tmp_path / "x.json").write_text("[" + ",\n".join([row] * 8_000) + "]")
    tracemalloc.start()
    assert sum(1 for _ in tables.rows(tmp_path / "x.json")) == 8_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * 2**20  # of 16 MB


@pytest.mark.parametrize(
    ("value", "shown", "words"),
    [
        pytest.param("x" * 100, "'" + "x" * 79, "label: '" + "x" * 79 + ": why; how", id="a text is cut"),
        pytest.param(None, "None", "label: why; how", id="nothing there is no part of the sentence"),
        pytest.param(b"ab", "b'ab'", "label is why; how", id="bytes are no part of the sentence"),
        pytest.param(bytes(81), "81 bytes", "label is why; how", id="many bytes are counted"),
    ],
)
def test_what_is_wrong_with_a_row_keeps_its_place_and_words_from_process_to_process(value, shown, words):
    found = Broken("label", value, "why", "how").at("rows.csv", 3, "a")
    assert found.record() == {
        "file": "rows.csv",
        "row": 3,
        "id": "a",
        "field": "label",
        "value": shown,
        "reason": "why",
        "fix": "how",
    }
    there = pickle.loads(pickle.dumps(found))
    assert (there.record(), str(there)) == (found.record(), words)
    assert found.at("other.csv", 4).row == 4
    assert found.row == 3
