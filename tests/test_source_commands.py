"""`gr-vl data list` and `gr-vl data count`, as a user types them."""

import re
import sys

import pytest
import source_shapes

from gr_vl import cli
from gr_vl.data import counts, sources
from gr_vl.errors import Broken
from gr_vl.schema import Label, Sample, Task


@pytest.fixture
def gr_vl(monkeypatch, capsys):
    """Exit code, output and error output of a command, run here."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["gr-vl", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code or 0, *capsys.readouterr()

    return run


@pytest.mark.parametrize("command", ["list", "count"])
def test_help_has_an_example(gr_vl, command):
    code, out, _ = gr_vl("data", command, "--help")
    assert code == 0
    assert re.search(f"Examples?: gr-vl data {command}", " ".join(out.split()))


def test_the_list_has_a_line_for_every_source(gr_vl):
    code, out, _ = gr_vl("data", "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[2:] if line[0] != " "] == sources.names()
    assert re.search(r"wildguard_train +corpus +prompt, response +text +ODC-BY, gated +huggingface.co/\S+", out)


def test_the_page_of_a_source_says_files_counts_and_doubts(gr_vl):
    code, out, _ = gr_vl("data", "list", "toxicchat_test")
    text = " ".join(out.split())
    assert code == 0
    assert "files data/0124/toxic-chat_annotation_test.csv: conv_id, user_input" in text
    assert "rows rows with human_annotation True" in text
    assert "published rows 2,853, prompt/harmful 362, prompt/unharmful 2,491" in text
    assert "not verified not read: path and columns" in text


def test_a_count_stands_beside_the_published_one(gr_vl, tmp_path):
    source_shapes.write("SimpleSafetyTests", tmp_path, 9)
    code, out, _ = gr_vl("data", "count", "SimpleSafetyTests", tmp_path)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[2:]}
    assert code == 0
    # Every third of nine is harmful; the real set has 100 harmful requests and no other.
    assert rows["rows"] == ["9", "100", "-91"]
    assert rows["prompt/harmful"] == ["3", "100", "-97"]
    assert rows["prompt/unharmful"] == ["6", "0", "+6"]
    assert rows["text"] == ["9"]
    assert "refused" not in out


def test_refused_rows_are_counted_by_reason(gr_vl, tmp_path):
    line = '{"messages": [{"role": "user", "content": %s}], "prompt_label": "safe"}\n'
    (tmp_path / "x.jsonl").write_text(line % '"hello"' + line % "5" + line % '[{"type": "[red]x[/red]"}]' + line % "6")
    code, out, _ = gr_vl("data", "count", "openai_messages", tmp_path)
    table = [line.split() for line in out[out.index("refused") :].splitlines()[2:]]
    assert code == 0
    assert table[0][:6] == ["2", "messages", "no", "text", "but", "a"]
    assert table[0][-4:] == ["x.jsonl", "row", "1:", "5"]
    assert "row 2: {'type': '[red]x[/red]'}" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("list", "toxicchat"), ["'toxicchat' is unknown", "toxicchat_test?"], id="an unknown source"),
        pytest.param(("count", "hod", "/nowhere"), ["/nowhere: no such folder"], id="no folder"),
        pytest.param(("count", "hod", "."), ["holds no class/*/*_cases/*.jpg", "gr-vl data list"], id="another folder"),
    ],
)
def test_a_mistake_is_one_line(gr_vl, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, _, error = gr_vl("data", *arguments)
    assert code == 2
    assert error.count("\n") == 1
    assert all(word in error for word in words)


def test_counts_add_up():
    harmful, unharmful = ({Task.RESPONSE: label} for label in (Label.HARMFUL, Label.UNHARMFUL))
    refused = Broken("a", 1, "why", "how").at("f", 3)
    told = counts.Counts()
    for item in (
        Sample("1", "s", "p", response="r", labels=harmful),
        Sample("2", "s", "p", response="r", images=(b"x",), labels=unharmful),
        refused,
        Sample("3", "s", "", images=(b"x",), labels={Task.PROMPT: Label.HARMFUL}),
    ):
        told.add(item)
    assert told.beside({"rows": 4, "prompt/unharmful": 1}) == [
        ("rows", 3, 4),
        ("text", 1, None),
        ("image", 1, None),
        ("text_image", 1, None),
        ("prompt", 1, None),
        ("prompt/harmful", 1, None),
        ("prompt/unharmful", 0, 1),
        ("response", 2, None),
        ("response/harmful", 1, None),
        ("response/unharmful", 1, None),
    ]
    assert told.refused == {("a", "why", "how"): 1}
    assert told.first[("a", "why", "how")] is refused
