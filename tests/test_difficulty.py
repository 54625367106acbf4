"""How hard each sample was is counted task by task, kept, and shown by source and modality."""

from dataclasses import replace

import pyarrow.parquet as pq
from factories import HARMFUL, UNHARMFUL, make_answer, make_png, make_sample, make_text
from PIL import Image

from gr_vl import dialects
from gr_vl.augment import difficulty
from gr_vl.augment.difficulty import Errors
from gr_vl.schema import Label, Task

SAMPLES = [
    make_sample("a", HARMFUL, UNHARMFUL, source="s"),
    make_sample("b", HARMFUL, None, source="s"),
    make_sample("c", None, HARMFUL, source="t", prompt="", images=(make_png(),)),
]
SAID = {
    "a": [make_text(HARMFUL, UNHARMFUL), make_text(HARMFUL, HARMFUL), make_text(UNHARMFUL, HARMFUL), "?"],
    "b": [make_text(HARMFUL, UNHARMFUL)] * 4,
    "c": [make_text(HARMFUL, UNHARMFUL)] * 3 + [""],
}
ROWS = [
    Errors("a", "s", "text", 4, 3, {"prompt": 2, "response": 3}, n_unparsable=1),
    # Without a response, unharmful is expected of it.
    Errors("b", "s", "text", 4, 0, {"prompt": 0, "response": 0}, n_unparsable=0),
    # The truth of the prompt is not known.
    Errors("c", "t", "image", 4, 4, {"response": 4}, n_unparsable=1),
]


def test_errors_are_counted_by_task():
    guard = dialects.get("guardreasoner_vl")
    assert [
        difficulty.errors(sample, [make_answer(text=text) for text in SAID[sample.id]], guard) for sample in SAMPLES
    ] == ROWS
    assert [row.right for row in ROWS] == [1, 4, 0]


def test_a_third_task_is_counted_where_a_dialect_has_one():
    guard = dialects.get("guardreasoner")
    sample = replace(make_sample("a", HARMFUL, UNHARMFUL), labels={Task.PROMPT: HARMFUL, Task.REFUSAL: Label.REFUSAL})
    said = {Task.PROMPT: HARMFUL, Task.RESPONSE: HARMFUL}
    texts = [guard.answer({**said, Task.REFUSAL: label}, "step") for label in (Label.REFUSAL, Label.COMPLIANCE)]
    row = difficulty.errors(sample, [make_answer(text=text) for text in texts], guard)
    assert (row.n_wrong, row.n_wrong_by_task) == (1, {"prompt": 0, "refusal": 1})
    assert "| wrong on prompt | wrong on refusal | unparsable |" in difficulty.table([row])


def test_the_histogram_is_in_all_by_modality_and_by_source():
    none = {"0": 0, "1": 0, "2": 0, "3": 0, "4": 0}
    assert difficulty.histogram(ROWS, 4) == {
        "k": 4,
        "histogram": none | {"0": 1, "1": 1, "4": 1},
        "by_modality": {"text": none | {"1": 1, "4": 1}, "image": none | {"0": 1}},
        "by_source": {"s": none | {"1": 1, "4": 1}, "t": none | {"0": 1}},
    }


def test_the_report_is_kept_as_a_table_a_picture_and_columns(tmp_path):
    difficulty.write(tmp_path, ROWS)
    rows = pq.read_table(tmp_path / "errors.parquet").to_pylist()
    assert [Errors(**row | {"n_wrong_by_task": dict(row["n_wrong_by_task"])}) for row in rows] == ROWS
    lines = (tmp_path / "difficulty.md").read_text().splitlines()
    assert lines[2:] == [
        "| s | text | 2 | 50% | 50% | 0% | 25% | 38% | 12% |",
        "| t | image | 1 | 0% | 0% | 100% | - | 100% | 25% |",
        "| all |  | 3 | 33% | 33% | 33% | 25% | 58% | 17% |",
    ]
    with Image.open(tmp_path / "difficulty.png") as picture:
        assert picture.width > picture.height > 200
