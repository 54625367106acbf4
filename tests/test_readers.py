"""One reader for every way in: what `data validate` calls usable the stages read, and what they refuse it refuses."""

import gzip
import json
import subprocess
import sys
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import make_png, make_sample
from source_rows import CHAT

from gr_vl import dialects
from gr_vl.data import io, sources, tables
from gr_vl.data.build import manifest
from gr_vl.data.build.recipe import Draw, Ingredient
from gr_vl.data.build.validate import Report, validate
from gr_vl.errors import Broken, DataError
from gr_vl.evaluation import predictions
from gr_vl.evaluation.endpoint import Endpoint, run
from gr_vl.schema import Label, Task
from gr_vl.teacher import process
from gr_vl.teacher.settings import Settings
from gr_vl.workbench import rollouts

DIALECT = dialects.get("guardreasoner_vl")
ROWS = [make_sample(f"{number}", images=(make_png(number),)) for number in range(3)]
IMAGE = {"bytes": make_png(), "path": None}
TEXT, BYTES, IMAGES = pa.string(), pa.binary(), io.IMAGES
WEIRD = pa.struct([("bytes", BYTES), ("path", pa.null()), ("taken", pa.timestamp("ns", "Mars/Olympus"))])


def corpus(path, name, values, kind):
    """Three good rows, but for one column."""
    table = pa.Table.from_pylist([io.to_row(sample, io.schema()) for sample in ROWS], schema=io.schema())
    column = values if isinstance(values, pa.Array) else pa.array(values, kind)
    pq.write_table(table.set_column(table.schema.get_field_index(name), name, column), path)
    return path


def findings(path):
    report = Report()
    for _ in validate(path, report, model=None, dialect=None, processes=1):
        pass
    return report.findings


USABLE = [
    pytest.param("id", [7, 8, 9], pa.int64(), ["7", "8", "9"], id="ids that are whole numbers"),
    pytest.param("id", [7, 8, 2**64 - 1], pa.uint64(), ["7", "8", str(2**64 - 1)], id="ids of 64 bits without a sign"),
    pytest.param("id", ["a", "b", "c"], pa.large_string(), ["a", "b", "c"], id="large texts"),
    pytest.param("id", ["a", "b", "c"], pa.string_view(), ["a", "b", "c"], id="views of texts"),
    pytest.param("id", ["a", "b", "c"], pa.dictionary(pa.int8(), TEXT), ["a", "b", "c"], id="categories"),
    pytest.param("id", [1, 2, 3], pa.dictionary(pa.int8(), pa.int64()), ["1", "2", "3"], id="categories of numbers"),
    pytest.param("id", ["a", "b", "c"], pa.json_(), ["a", "b", "c"], id="JSON as an extension of text"),
    pytest.param("prompt", [b"a", b"\xc3\xa9", b"c"], BYTES, ["a", "\u00e9", "c"], id="bytes that are UTF-8"),
    pytest.param("prompt", [b"a", b"b", b"c"], pa.large_binary(), ["a", "b", "c"], id="many bytes that are UTF-8"),
    pytest.param("prompt", [b"a", b"b", b"c"], pa.binary(1), ["a", "b", "c"], id="bytes of one width"),
    pytest.param("policy", [None] * 3, pa.null(), [None] * 3, id="a column of nothing"),
    pytest.param("policy", [None, float("nan"), None], pa.float64(), [None] * 3, id="what pandas writes for nothing"),
    pytest.param("policy", [None] * 3, pa.list_(TEXT), [None] * 3, id="lists of which there are none"),
    pytest.param("images", [[IMAGE]] * 3, pa.large_list(IMAGES.value_type), [(IMAGE["bytes"],)] * 3, id="large lists"),
    pytest.param("images", [[IMAGE]] * 3, pa.list_(WEIRD), [(IMAGE["bytes"],)] * 3, id="images with a strange time"),
    pytest.param("images", [[IMAGE]] * 3, pa.list_(IMAGES.value_type, 1), [(IMAGE["bytes"],)] * 3, id="one image each"),
    pytest.param("images", [None, [], None], IMAGES, [()] * 3, id="no images"),
]


@pytest.mark.parametrize(("name", "values", "kind", "wanted"), USABLE)
def test_what_has_one_text_is_read_alike_by_the_stages_and_by_validate(tmp_path, name, values, kind, wanted):
    if kind == pa.json_():
        values = pa.ExtensionArray.from_storage(kind, pa.array(values))
    path = corpus(tmp_path / "c.parquet", name, values, kind)
    read = io.read(path)
    assert [getattr(sample, name) for sample in read] == wanted
    assert [replace(sample, **{name: None}) for sample in read] == [replace(row, **{name: None}) for row in ROWS]
    assert findings(path) == []


NO_BYTES = "images: 'b.png': image without bytes; embed the encoded file itself"
LAYOUT = "write list<struct<bytes: binary, path: string>>, the encoded file itself as bytes"
REFUSED = [
    pytest.param("id", [1.0, 2.0, 3.0], pa.float64(), 0, "id is a column of type double", None, id="ids with a point"),
    pytest.param("id", [None, 2.0, None], pa.float16(), 1, "halffloat; write text", None, id="half an id"),
    pytest.param("id", [b"x" * 16] * 3, pa.uuid(), 0, "id is a column of type", None, id="ids that are UUIDs"),
    pytest.param("id", [["a"], ["b"], ["c"]], pa.list_(TEXT), 0, "list<", None, id="lists of ids"),
    pytest.param("id", [1, 2, 3], pa.timestamp("ns"), 0, "timestamp[ns]; write text", None, id="times as ids"),
    pytest.param("prompt_label", [True, False, True], pa.bool_(), 0, "write harmful or unharmful", None, id="flags"),
    pytest.param("prompt_label", ["harmful", "1", "2"], TEXT, 1, "prompt_label: '1': unknown label", 1, id="digits"),
    pytest.param("prompt_label", [1, 0, 1], pa.int8(), 0, "prompt_label: '1': unknown label", 0, id="numbers"),
    pytest.param("refusal_label", [b"yes"] * 3, BYTES, 0, "'yes': unknown label; write refusal", 0, id="bytes"),
    pytest.param("prompt", [b"a", b"\xff", b"c"], BYTES, 1, "prompt is a text that is no UTF-8", 1, id="Latin-1"),
    pytest.param("id", ["a", None, "c"], TEXT, 1, "id: no id; give every row one", 1, id="a missing id"),
    pytest.param("source", ["a", "b", " "], TEXT, 2, "source: ' ': no source", 2, id="a blank source"),
    pytest.param("images", [[IMAGE], [{"path": "b.png"}], []], IMAGES, 1, NO_BYTES, 1, id="an image that is a path"),
    pytest.param("images", [[], [], [None]], IMAGES, 2, "images: image without bytes; embed", 2, id="no image"),
    pytest.param("images", [[], [], [None]], pa.list_(pa.null()), 2, "images: image without", 2, id="only nothing"),
    pytest.param("images", [[b"a"]] * 3, pa.list_(BYTES), 0, LAYOUT, None, id="a list of bytes"),
    pytest.param("images", [["a.png"]] * 3, pa.list_(TEXT), 0, LAYOUT, None, id="a list of paths"),
    pytest.param("images", [None, b"a", None], BYTES, 1, LAYOUT, None, id="bytes alone"),
    pytest.param("images", [IMAGE] * 3, IMAGES.value_type, 0, LAYOUT, None, id="one struct"),
    pytest.param("images", [[{"data": b"a"}]] * 3, pa.list_(pa.struct([("data", BYTES)])), 0, LAYOUT, None, id="data"),
    pytest.param("images", [[[IMAGE]]] * 3, pa.list_(IMAGES), 0, LAYOUT, None, id="a list of lists"),
]


@pytest.mark.parametrize(("name", "values", "kind", "row", "words", "found"), REFUSED)
def test_what_has_none_is_refused_with_its_row_before_anything_is_asked_or_written(
    tmp_path, monkeypatch, name, values, kind, row, words, found
):
    if kind == pa.uuid():
        values = pa.ExtensionArray.from_storage(kind, pa.array(values, pa.binary(16)))
    path = corpus(tmp_path / "c.parquet", name, values, kind)
    monkeypatch.setenv("KEY", "none")
    endpoint = Endpoint("http://127.0.0.1:9/v1", "m", "llama_guard_vision", str(path), api_key_env="KEY")
    settings = Settings(
        path, tmp_path / "taught.parquet", "m", base_url="http://127.0.0.1:9/v1", dialect="guardreasoner_vl"
    )
    for way in (
        lambda: io.read(path),
        lambda: run(endpoint, tmp_path / "out"),
        lambda: process.estimate(settings),
        lambda: io.write(tmp_path / "data.parquet", io.iterate(path)),
    ):
        with pytest.raises(DataError) as refused:
            way()
        assert f"c.parquet: row {row}: " in str(refused.value)
        assert words in str(refused.value)
    if found is None:
        with pytest.raises(DataError) as refused:
            findings(path)
        assert words in str(refused.value)
    else:
        assert (findings(path)[0].row, findings(path)[0].field) == (found, name)
    assert [entry.name for entry in tmp_path.iterdir()] == ["c.parquet"]


def columns_twice(path):
    table = pq.read_table(corpus(path, "id", ["a", "b", "c"], TEXT))
    pq.write_table(table.append_column("id", table["id"]), path)


def cut_off(path):
    data = bytearray(corpus(path, "id", ["a", "b", "c"], TEXT).read_bytes())
    data[100:400] = bytes(300)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        pytest.param(columns_twice, "has the columns id twice; keep one of each", id="a column twice"),
        pytest.param(cut_off, "cannot be read on from row 0", id="a damaged page"),
        pytest.param(lambda path: path.write_bytes(b""), "not a parquet file", id="nothing"),
        pytest.param(lambda path: path.write_bytes(b"id,prompt\n"), "not a parquet file", id="another table"),
        pytest.param(lambda path: pq.write_table(pa.table({"id": ["a"]}), path), "lacks the columns", id="one column"),
    ],
)
def test_a_file_is_refused_alike(tmp_path, spoil, words):
    spoil(tmp_path / "c.parquet")
    for way in (io.read, findings):
        with pytest.raises(DataError, match=words):
            way(tmp_path / "c.parquet")


def test_an_id_that_two_rows_have_is_found_before_a_guard_is_asked(tmp_path, monkeypatch):
    path = corpus(tmp_path / "c.parquet", "id", ["a", "b", "a"], TEXT)
    monkeypatch.setenv("KEY", "none")
    with pytest.raises(DataError, match=r"c\.parquet: row 2: id: 'a': id of another row; give every row its own"):
        run(Endpoint("http://127.0.0.1:9/v1", "m", "llama_guard", str(path), api_key_env="KEY"), tmp_path / "out")
    assert [(found.row, found.reason) for found in findings(path)] == [(2, "id of another row")]


TIMES = {
    "nanoseconds": pa.array([1, 2], pa.timestamp("ns")),
    "an unknown zone": pa.array([1, 2], pa.timestamp("ms", "Mars/Olympus")),
    "the year 60000": pa.array([2**61, 2], pa.timestamp("us")),
    "a day beyond the last": pa.array([2**30, 1], pa.int32()).view(pa.date32()),
    "durations": pa.array([1, 2], pa.duration("ns")),
    "decimals": pa.array([1, 2], pa.decimal256(40, 2)),
}
READ_TIMES = """
import sys
from pathlib import Path
sys.modules["pandas"] = None
from gr_vl.data import sources

for folder in map(Path, sys.argv[1:]):
    print([type(item).__name__ for item in sources.get("openai_messages").read(folder)])
    for item in sources.get("openai_messages").read(folder):
        if getattr(item, "reason", None):
            print(item.field, item.reason)
"""


def test_a_column_that_nobody_reads_costs_no_row_without_pandas(tmp_path):
    for number, (kind, column) in enumerate(TIMES.items()):
        turns = [[{"role": "user", "content": "ask", "at": None}]] * 2
        turn = pa.struct([("role", TEXT), ("content", TEXT), ("at", pa.timestamp("ns", "Mars/Olympus"))])
        table = pa.table({"messages": pa.array(turns, pa.list_(turn)), "prompt_label": ["safe", "unsafe"]})
        name = "id" if kind == "an unknown zone" else "created"
        (tmp_path / str(number)).mkdir()
        pq.write_table(table.append_column(name, column), tmp_path / str(number) / "train.parquet")
    folders = [str(tmp_path / str(number)) for number in range(len(TIMES))]
    found = subprocess.run([sys.executable, "-c", READ_TIMES, *folders], capture_output=True, text=True, check=True)
    good = "['Sample', 'Sample']"
    asked = ["id a value of type timestamp[ms, tz=Mars/Olympus] that Python has none for"] * 2
    assert found.stdout.splitlines() == [good, "['Broken', 'Broken']", *asked, *[good] * 4]


@pytest.mark.parametrize("name", ["x.csv", "x.parquet"])
def test_of_two_columns_of_one_name_none_is_taken(name, tmp_path):
    if name == "x.csv":
        (tmp_path / name).write_text("a,b,a\n1,2,3\n")
    else:
        columns = [pa.array([cell]) for cell in "123"]
        pq.write_table(pa.Table.from_arrays(columns, list("aba")), tmp_path / name)
    (row,) = tables.rows(tmp_path / name)
    assert (row["b"], row["a"].reason) == ("2", "a column that is there twice")


def chat(path, number=2, **cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [CHAT | {"prompt_label": "safe"} | cells for _ in range(number)]
    data = "".join(json.dumps({k: v for k, v in row.items() if k != "id" or "id" in cells}) + "\n" for row in rows)
    path.write_bytes(gzip.compress(data.encode()) if path.suffix == ".gz" else data.encode())


def test_rows_without_an_id_are_told_apart_by_folder_and_kind_of_file(tmp_path):
    files = ("2024-01/data.json", "2024-01/data.jsonl", "2024-01/data.jsonl.gz", "2024-02/data.jsonl", "data.jsonl")
    for file in files:
        chat(tmp_path / file)
    found = list(sources.get("openai_messages").read(tmp_path))
    assert [item.id for item in found] == [f"openai_messages-{file}-{row}" for file in files for row in (0, 1)]


def test_a_row_that_is_called_as_another_without_an_id_is_says_so(tmp_path):
    chat(tmp_path / "a.jsonl", 1, id="b.jsonl-0")
    chat(tmp_path / "b.jsonl", 1)
    _, refused = sources.get("openai_messages").read(tmp_path)
    assert isinstance(refused, Broken)
    assert (refused.field, refused.reason) == ("id", "none, and another row is called 'openai_messages-b.jsonl-0'")


@pytest.mark.parametrize(
    "left",
    [
        ".ipynb_checkpoints/data-checkpoint.jsonl",
        ".Trash-0/files/old.jsonl",
        "__MACOSX/._data.jsonl",
        "__MACOSX/data.jsonl",
        "deep/._data.jsonl",
        ".~lock.data.jsonl",
        "~data.jsonl",
        "$RECYCLE.BIN/old.jsonl",
        "lost+found/old.jsonl",
    ],
)
def test_what_tools_leave_behind_is_no_data(left, tmp_path):
    root = tmp_path / ".cache" / "__named__"  # whoever names a folder means it
    chat(root / "data.jsonl")
    chat(root / left)
    assert [item.id for item in sources.get("openai_messages").read(root)] == [
        f"openai_messages-data.jsonl-{row}" for row in (0, 1)
    ]
    (lines,) = manifest._inputs([Ingredient("openai_messages", root, Draw({"": "all"}))]).values()
    assert [line.split("  ")[1] for line in lines.splitlines()] == ["__named__/data.jsonl"]


ANSWER = {"prompt": "Human user:\nHi\u00e9?\n\nAI assistant:\nHello.\n", "label": "harmful"}
ANSWER |= {"predict": "Response: harmful"}
ROLLOUT = {"output": "h\u00e9", "gts": {"prompt": "harmful"}}


def lines(row, encoding):
    text = "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for _ in range(2)) + "\r\n"
    return gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding)


ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "gzip"]


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_lines_are_read_alike_whatever_saved_them(encoding, tmp_path):
    sign = "\ufffd" if encoding == "latin-1" else "\u00e9"
    path = tmp_path / "answers.txt"  # no ending says what it is
    path.write_bytes(lines(ANSWER, encoding))
    for item in (judged := predictions.read(path, "guardreasoner")):
        assert (item.sample.prompt, item.sample.labels) == (f"Hi{sign}?", {Task.RESPONSE: Label.HARMFUL})
    path.write_bytes(lines(ROLLOUT, encoding))
    found = [(answer.text, answer.place.rpartition(":")[2]) for answer in rollouts.read([path], DIALECT).answers]
    assert (len(judged), found) == (2, [(f"h{sign}", "1"), (f"h{sign}", "3")])
    path = tmp_path / "x.jsonl"
    path.write_bytes(lines({"a": "\u00e9"}, encoding))
    assert list(tables.rows(path)) == [{"a": sign}] * 2


def test_a_wall_of_brackets_is_one_line_of_its_file(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(ANSWER) + "\n\n" + "[" * 200_000 + "\n")
    with pytest.raises(DataError, match=r"a\.jsonl: line 3: not JSON \(nested too deeply\)"):
        predictions.read(path, "guardreasoner")


def test_hidden_rollouts_of_a_folder_are_passed_over(tmp_path):
    (tmp_path / "1.jsonl").write_bytes(lines(ROLLOUT, "utf-8"))
    (tmp_path / "._1.jsonl").write_bytes(b"\0\5\26\7")
    (tmp_path / "2.jsonl.gz").write_bytes(lines(ROLLOUT, "gzip"))
    read = rollouts.read([tmp_path], DIALECT)
    assert (len(read.answers), read.unreadable) == (4, [])


def test_a_folder_of_images_has_an_id_for_each(tmp_path):
    for kind in ("normal_cases", "hard_cases"):
        (tmp_path / "class" / "gun" / kind).mkdir(parents=True)
        (tmp_path / "class" / "gun" / kind / "1.jpg").write_bytes(make_png())
    found = [item.id for item in sources.get("hod").read(tmp_path)]
    assert found == ["hod-gun-class/gun/hard_cases/1.jpg", "hod-gun-class/gun/normal_cases/1.jpg"]
