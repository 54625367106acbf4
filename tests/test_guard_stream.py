"""JSONL in, JSONL out: a bad line becomes an error with its number, and the others are judged."""

import base64
import gzip
import io
import json

import pytest
from factories import make_png

from gr_vl.errors import DataError
from gr_vl.guard.moderation import Exchange, Written, judged, questions
from gr_vl.guard.stream import moderate_lines
from gr_vl.schema import FailureReason, Label, Task

PNG = "data:image/png;base64," + base64.b64encode(make_png()).decode()


class Echo:
    """Stands where a model does; remembers what it was asked."""

    def __init__(self, dialect):
        from gr_vl import dialects

        self.asked, self.dialect = [], dialects.get(dialect)

    def __call__(self, exchanges):
        self.asked += exchanges
        text = self.dialect.answer({Task.PROMPT: Label.UNHARMFUL, Task.RESPONSE: Label.UNHARMFUL})
        scores = {Task.PROMPT: 0.25, Task.RESPONSE: 0.125}
        return [
            DataError("too long")
            if exchange.prompt == "long"
            else judged(self.dialect, questions(self.dialect, exchange)[0], Written(text, True, 1, 2, 0.5), scores)
            for exchange in exchanges
        ]


def run(lines, root=None, think=True, policy=None, dialect="guardreasoner_vl"):
    echo = Echo(dialect)
    source = io.BytesIO(
        b"".join(line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines)
    )
    results = moderate_lines(source, echo, batch_size=4, think=think, image_root=root, policy=policy)
    return list(results), echo.asked


def test_every_line_has_its_result_in_order(tmp_path):
    (tmp_path / "a.png").write_bytes(make_png(1))
    results, asked = run(
        [
            {"id": "x", "prompt": "a"},
            b"\n",
            {"prompt": "b", "response": "c", "think": False},
            {"images": ["a.png", PNG]},
        ],
        tmp_path,
    )
    assert asked == [
        Exchange("a"),
        Exchange("b", response="c", think=False),
        Exchange("", (make_png(1), make_png())),
    ]
    assert [(row["line"], row.get("id"), row["scores"]) for row in results] == [
        (1, "x", {"prompt": 0.25}),
        (3, None, {"prompt": 0.25, "response": 0.125}),
        (4, None, {"prompt": 0.25}),
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        pytest.param(b"{\n", "no JSON", id="no JSON"),
        pytest.param(b"\xff\n", "no JSON", id="no UTF-8"),
        pytest.param(b"[" * 100_000 + b"\n", "no JSON", id="a wall of brackets"),
        pytest.param([1], "holds list", id="a list"),
        pytest.param({"text": "a"}, "'text' is unknown; use id, prompt", id="an unknown field"),
        pytest.param({"prompt": 3}, "prompt is of type int", id="a number for a text"),
        pytest.param({"prompt": "a", "think": "no"}, "think is of type str", id="a word for a switch"),
        pytest.param({"prompt": "a", "policy": 1}, "policy is of type int", id="a number for a policy"),
        pytest.param({"prompt": "a", "policy": " "}, "policy: is blank", id="a policy without rules"),
        pytest.param({}, "nothing to judge", id="nothing"),
        pytest.param({"images": ["/etc/passwd"]}, "drop `..` and the leading slash", id="an absolute path"),
        pytest.param({"images": ["../a.png"]}, "drop `..`", id="a path that climbs"),
        pytest.param({"images": ["http://169.254.169.254/"]}, "URLs are not fetched", id="a URL"),
        pytest.param({"images": ["data:image/png;base64,AAAA"]}, "no readable PNG", id="no picture"),
        pytest.param({"images": [3]}, "an image is of type int", id="a number for an image"),
        pytest.param({"prompt": "long"}, "too long", id="what the guard refuses"),
    ],
)
def test_a_bad_line_is_an_error_with_its_number_and_spoils_no_other(tmp_path, line, words):
    results, asked = run([{"prompt": "a"}, line, {"prompt": "b"}], tmp_path)
    assert [row["line"] for row in results] == [1, 2, 3]
    assert words in results[1]["error"]
    assert [row["flagged"] for row in (results[0], results[2])] == [False, False]
    assert {"a", "b"} <= {exchange.prompt for exchange in asked}


def test_a_line_has_its_own_policy_or_that_of_all():
    _, asked = run(
        [{"prompt": "a"}, {"prompt": "b", "policy": "U1: own"}, {"prompt": "c", "policy": None}],
        policy="U1: of all",
        dialect="rsafe",
    )
    assert [exchange.policy for exchange in asked] == ["U1: of all", "U1: own", "U1: of all"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "latin-1", "gzip"])
def test_a_file_is_read_whatever_saved_it(tmp_path, encoding):
    text = "\r\n".join(json.dumps({"prompt": letter}, ensure_ascii=False) for letter in ("a", "\u00e9")) + "\r\n"
    data = gzip.compress(text.encode()) if encoding == "gzip" else text.encode(encoding)
    (tmp_path / "x.jsonl").write_bytes(data)
    echo = Echo("guardreasoner_vl")
    with (tmp_path / "x.jsonl").open("rb") as file:
        found = list(moderate_lines(file, echo, batch_size=4, think=True, image_root=None))
    assert [row["line"] for row in found if "error" not in row] == [1, 2]
    assert [exchange.prompt for exchange in echo.asked] == ["a", "\ufffd" if encoding == "latin-1" else "\u00e9"]


def test_paths_need_a_root():
    assert "--image-root" in run([{"images": ["a.png"]}])[0][0]["error"]


def test_an_unreadable_answer_is_harmful_and_says_why():
    from gr_vl import dialects

    dialect = dialects.get("guardreasoner_vl")
    [question] = questions(dialect, Exchange("a", response="b"))
    found = judged(dialect, question, Written("<think>no", False, 1, 8, 0.1), {})
    assert found.flagged
    assert found.labels == {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.HARMFUL}
    assert found.scores == {Task.PROMPT: 1.0, Task.RESPONSE: 1.0}
    assert (found.failure, found.reasoning) == (FailureReason.UNCLOSED_REASONING, "no")
    assert found.to_json()["failure"] == "unclosed_reasoning"


class Torn(io.BytesIO):
    """A file on a disk that fails after so many lines."""

    def __init__(self, content, lines):
        super().__init__(content)
        self.left = lines

    def readline(self, size=-1):
        self.left -= 1
        if self.left < 0:
            raise OSError("the disk failed")
        return super().readline(size)


def test_a_file_that_cannot_be_read_to_its_end_is_an_error_after_the_results_of_what_was_read():
    source = Torn(b'{"prompt": "a"}\n' * 9, lines=6)
    results = moderate_lines(source, Echo("guardreasoner_vl"), batch_size=4, think=True, image_root=None)
    numbers = []
    with pytest.raises(DataError, match=r"cannot be read after line 6 .*the disk failed"):
        numbers.extend(result["line"] for result in results)
    assert numbers == [1, 2, 3, 4, 5, 6]
