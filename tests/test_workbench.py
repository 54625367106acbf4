"""`gr-vl reward explain` and `replay` against numbers computed by hand."""

import json
import sys

import numpy as np
import pytest
from factories import facts_of, make_text

from gr_vl import cli, dialects
from gr_vl.schema import Label
from gr_vl.workbench import replay, rollouts

DIALECT = dialects.get("guardreasoner_vl")

H, U = Label.HARMFUL, Label.UNHARMFUL


def row(prompt, response, tokens, uid="p_0_0", step=1, **extra):
    gts = {"prompt": "harmful", "response": "unharmful"}
    lengths = {"reasoning_tokens": tokens, "output_tokens": tokens + 20, "finished": True}
    return {"output": make_text(prompt, response), "gts": gts, "uid": uid, "step": step, **lengths, **extra}


ROWS = [
    row(U, H, 100, "p_0_0"),
    row(H, H, 50, "p_1_0"),
    row(H, U, 50, "p_2_0"),
    row(H, U, 10, "q_0_0"),
    row(H, U, 20, "q_1_0"),
]
"""A group of wrong, half right and right; and a group of two right answers."""


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "rollouts" / "1.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(one) + "\n" for one in ROWS))
    (tmp_path / "run.json").write_text(json.dumps(facts_of("guardreasoner_vl")))
    return path


@pytest.fixture
def gr_vl(monkeypatch, capsys):
    """The command line in this process: exit code, output, error output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["gr-vl", *map(str, arguments)])
        try:
            cli.main()
            code = 0
        except SystemExit as error:
            code = error.code
        return code, *capsys.readouterr()

    return call


def test_replay_by_hand(gr_vl, saved):
    code, out, _ = gr_vl(
        "reward", "replay", saved, "--reward", "paper", "--reward", "token_price", "--budget", 100, "--json"
    )
    assert code == 0
    found = json.loads(out)
    assert [found[name] for name in ("answers", "groups", "unreadable lines", "parse failures")] == [5, 2, 0, {}]
    # Totals: -1, -2, 0 and 0, 0; against -.45, .275, .775 and .955, .91.
    paper, price = found["rewards"]["paper"], found["rewards"]["token_price"]
    assert (paper["mean"], paper["min"], paper["median"], paper["max"]) == pytest.approx((-0.6, -2, 0, 0))
    assert (price["mean"], price["min"], price["median"], price["max"]) == pytest.approx((0.493, -0.45, 0.775, 0.955))
    assert [kind["groups with zero spread"] for kind in (paper, price)] == [0.5, 0]
    # The wrong answer scores above the half right one.
    assert [kind["groups out of order"] for kind in (paper, price)] == [0.5, 0]
    # Ranks 2, 1, 3 against 1, 2, 3: 1 - 6 x 2 / (3 x 8). The other group is constant under paper.
    pair = {"a": "paper", "b": "token_price", "rank correlation": 0.5, "groups compared": 1, "groups flipped": 0.5}
    assert found["pairs"] == [pytest.approx(pair)]


def test_replay_reads_folders_and_other_rewards_and_draws(gr_vl, saved, tmp_path):
    (tmp_path / "mine.yaml").write_text("preset: paper\nbudget: 100\nscale: 0.5\n")
    picture = tmp_path / "new" / "a.png"
    code, out, _ = gr_vl("reward", "replay", saved.parent, "--reward", tmp_path / "mine.yaml", "--out", picture)
    assert code == 0
    assert "5 answers, 2 groups, 0 unreadable lines" in out
    assert "-0.3 " in out
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_lines_that_cannot_be_read_are_counted_with_their_reason(gr_vl, saved):
    torn = [
        json.dumps(ROWS[0])[:40],
        json.dumps({"output": "x", "gts": {"prompt": "maybe"}}),
        "",
        "[]",
        '{"output": 3}',
    ]
    saved.write_text(saved.read_text() + "\n".join([*torn, json.dumps(row(H, U, -1))]) + "\n")
    read = rollouts.read([saved], DIALECT)
    assert [len(group) for group in read.groups] == [3, 2]
    assert [problem.split(":")[1] for problem in read.unreadable] == ["6", "7", "9", "10", "11"]
    code, out, _ = gr_vl("reward", "replay", saved, "--reward", "paper")
    assert code == 0
    assert "5 unreadable lines" in out
    assert ":6: not JSON (" in out
    assert "the line may be torn" in out


def test_parse_failures_are_counted_by_reason(gr_vl, saved):
    broken = row(H, U, 5, "q_2_0") | {"output": "<think>a"}
    saved.write_text(saved.read_text() + json.dumps(broken))
    found = json.loads(gr_vl("reward", "replay", saved, "--reward", "paper", "--json")[1])
    assert found["parse failures"] == {"unclosed_reasoning": 1}


def test_rows_of_verl_alone_are_grouped_and_their_lengths_estimated():
    old = {key: value for key, value in ROWS[0].items() if "tokens" not in key and key != "finished"}
    got = rollouts.parse(json.dumps(old), "a:1", DIALECT)
    # < think >, 16 signs and words of two sections, and then 19 of tags and result.
    assert got.estimated
    assert got.lengths == {"reasoning_tokens": 3 + 16, "output_tokens": 3 + 16 + 4 + 3 + 2 + 6 + 4, "finished": True}
    again = rollouts.parse(json.dumps({**old, "uid": "p_9_0"}), "a:2", DIALECT)
    other = rollouts.parse(json.dumps({**old, "step": 2}), "a:3", DIALECT)
    assert got.group == again.group != other.group


def test_explain_by_hand(gr_vl, saved):
    code, out, _ = gr_vl("reward", "explain", saved, "--line", 2, "--budget", 100, "--json")
    assert code == 0
    found = json.loads(out)
    assert found["total"] == found["terms"][0]["adds"] == pytest.approx(-2)
    assert [found["inputs"][name] for name in ("accuracy", "l", "gate passed")] == [0.5, 0.5, True]
    # -1 / .25; 0; -.5 / .2^2; -.5 / .8^2; each less -2.
    changes = {"prompt wrong": -2, "response right": 2, "30 tokens fewer": -10.5, "30 tokens more": 1.21875}
    assert found["changes"] == pytest.approx(changes)


def test_explain_compares_within_the_group(gr_vl, saved):
    arguments = ("reward", "explain", saved, "--line", 3, "--reward", "bounded", "--budget", 100)
    found = json.loads(gr_vl(*arguments, "--json")[1])
    # 1 - .2 x .5 x .5; half right, it would keep the group's step of .5: .45.
    assert (found["total"], found["changes"]["prompt wrong"]) == pytest.approx((0.95, -0.5))
    code, out, _ = gr_vl(*arguments)
    assert code == 0
    assert "3 in its group, reward bounded" in out
    assert "TieBreak(size=0.2)" in out
    assert "prompt wrong: -0.5" in out


def test_explain_says_what_an_answer_without_a_verdict_lacks(gr_vl):
    record = json.dumps({"output": "<think>a", "gts": {"prompt": "harmful"}, "reasoning_tokens": 60})
    code, out, _ = gr_vl("reward", "explain", record, "--reward", "accuracy", "--dialect", "guardreasoner_vl")
    assert code == 0
    assert "unclosed_reasoning" in out
    assert "well formed, closed and right: +1" in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["replay", "nowhere.jsonl", "--reward", "paper"], ["nowhere.jsonl: no such file"], id="no file"),
        pytest.param(["replay", ".", "--reward", "paper"], ["no readable rollout"], id="an empty folder"),
        pytest.param(["replay", ".", "--reward", "cubic"], ["cubic", "bounded, eco"], id="an unknown reward"),
        pytest.param(["replay", ".", "--reward", "a.yaml"], ["a.yaml", "readable YAML file"], id="no reward file"),
        pytest.param(["replay", ".", "--reward", "paper", "--out", "a.doc"], ["a.doc", ".svg"], id="no picture"),
        pytest.param(["explain", "{torn"], ["RECORD: not JSON"], id="a torn record"),
        pytest.param(
            ["explain", '{"output": "", "gts": 3}'], ["gts=3", "prompt: unharmful or harmful"], id="no labels"
        ),
        pytest.param(["explain", "{}", "--budget", "0"], ["budget=0"], id="no budget"),
    ],
)
def test_a_mistake_is_answered_in_one_line(gr_vl, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, error = gr_vl("reward", *arguments, "--dialect", "guardreasoner_vl")
    assert (code, out, error.count("\n")) == (2, "", 1)
    for word in words:
        assert word in error


def test_a_line_that_is_not_there_or_cannot_be_read_is_named(gr_vl, saved):
    saved.write_text(saved.read_text() + "{torn")
    for line, words in ((9, "it has 5 answers"), (6, "1.jsonl:6: not JSON")):
        code, _, error = gr_vl("reward", "explain", saved, "--line", line)
        assert code == 2
        assert words in error


@pytest.mark.parametrize(
    ("a", "b", "flipped", "rank"),
    [
        pytest.param([1, 2, 3], [10, 20, 30], False, 1, id="one order"),
        pytest.param([1, 2, 3], [3, 2, 1], True, -1, id="reversed"),
        # Ranks 1.5, 1.5, 3 against 1, 2, 3: 1.5 / sqrt(1.5 x 2).
        pytest.param([1, 1, 2], [1, 2, 3], False, 0.8660254, id="a tie is no order"),
    ],
)
def test_agreement_within_a_group(a, b, flipped, rank):
    a, b = np.array(a, float), np.array(b, float)
    assert replay.flips(a, b) is flipped
    assert replay.spearman(a, b) == pytest.approx(rank)


BOXED = {
    "output": r"<think>a</think>\boxed{unsafe}",
    "gts": {"prompt": "harmful"},
    "reasoning_tokens": 3,
    "output_tokens": 9,
}


@pytest.fixture
def boxed(tmp_path):
    """Two rollouts of an RSafe run, right and wrong, in a run folder that says so."""
    path = tmp_path / "run" / "rl" / "rollouts" / "1.jsonl"
    path.parent.mkdir(parents=True)
    wrong = BOXED | {"output": r"<think>a</think>\boxed{safe}"}
    path.write_text("".join(json.dumps(one | {"uid": f"p_{i}_0"}) + "\n" for i, one in enumerate((BOXED, wrong))))
    (tmp_path / "run" / "run.json").write_text(json.dumps({"recipe": "mine"} | facts_of("rsafe")))
    return path


def test_answers_of_a_run_are_read_by_the_runs_own_grammar(gr_vl, boxed):
    code, out, _ = gr_vl("reward", "explain", boxed, "--reward", "rsafe", "--json")
    found = json.loads(out)
    assert (code, found["dialect"], found["total"]) == (0, "rsafe", 1.0)
    for named in (boxed, boxed.parent):
        found = json.loads(gr_vl("reward", "replay", named, "--reward", "rsafe", "--json")[1])
        assert (found["dialect"], found["parse failures"]) == ("rsafe", {})
        assert found["rewards"]["rsafe"]["mean"] == pytest.approx((1 + 0.1) / 2)
        assert found["rewards"]["rsafe"]["groups with zero spread"] == 0


def test_a_grammar_can_be_named_where_no_run_is(gr_vl, tmp_path):
    record = json.dumps(BOXED)
    found = json.loads(gr_vl("reward", "explain", record, "--reward", "rsafe", "--dialect", "rsafe", "--json")[1])
    assert (found["dialect"], found["total"]) == ("rsafe", 1.0)
    # The option rules over the run.
    (tmp_path / "run.json").write_text(json.dumps(facts_of("guardreasoner_vl")))
    (tmp_path / "a.jsonl").write_text(record)
    out = gr_vl("reward", "replay", tmp_path / "a.jsonl", "--reward", "rsafe", "--dialect", "rsafe", "--json")[1]
    assert json.loads(out)["rewards"]["rsafe"]["mean"] == 1.0


def test_a_grammar_that_nothing_names_is_asked_for(gr_vl, saved):
    (saved.parents[1] / "run.json").unlink()
    for arguments in (["replay", saved, "--reward", "paper"], ["explain", saved]):
        code, _, error = gr_vl("reward", *arguments)
        assert (code, error.count("\n")) == (2, 1)
        assert "nothing says which guard it is of; pass --dialect, one of: guardreasoner" in error


def test_runs_of_two_grammars_are_not_replayed_as_one(gr_vl, boxed, tmp_path):
    other = tmp_path / "other" / "1.jsonl"
    other.parent.mkdir()
    other.write_text(json.dumps(ROWS[0]))
    (other.parent / "run.json").write_text(json.dumps(facts_of("guardreasoner_vl")))
    code, _, error = gr_vl("reward", "replay", boxed, other, "--reward", "rsafe")
    assert code == 2
    assert "these runs differ in it" in error


def test_an_unknown_grammar_is_refused(gr_vl, boxed):
    code, _, error = gr_vl("reward", "explain", boxed, "--dialect", "llama")
    assert (code, "='llama' is unknown; use one of: guardreasoner, guardreasoner_vl, rsafe" in error) == (2, True)
