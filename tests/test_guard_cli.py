"""`gr-vl moderate`, `serve` and `export` refuse a caller's mistake in one line, at once, without torch."""

import pytest
from factories import make_model
from test_cli import loaded

from gr_vl import cli
from gr_vl.errors import GuardError

MODEL = ("--model", "nowhere")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(("moderate", *MODEL), "nothing to judge", id="moderate: nothing"),
        pytest.param(("moderate", *MODEL, "--text", "a"), "nowhere: no model there", id="moderate: no model"),
        pytest.param(("moderate", *MODEL, "--image", "/no/such.png"), "such.png", id="moderate: no image"),
        pytest.param(
            ("moderate", *MODEL, "--input", "none.jsonl"), "none.jsonl: no such file", id="moderate: no input"
        ),
        pytest.param(
            ("moderate", *MODEL, "--text", "a", "--policy", "none.txt"), "--policy none.txt", id="moderate: no policy"
        ),
        pytest.param(("serve", *MODEL), "nowhere: no model there", id="serve: no model"),
        pytest.param(("serve", *MODEL, "--host", "0.0.0.0"), "GR_VL_API_KEY", id="serve: open to all"),
        pytest.param(("serve", *MODEL, "--queue", "4"), "--max-items=32: must fit", id="serve: a short queue"),
        pytest.param(("export", "nowhere", "out"), "nowhere: no model there", id="export: no model"),
    ],
)
def test_a_mistake_names_what_is_wrong(arguments, words):
    with pytest.raises(GuardError) as refused:
        cli.app(list(arguments), standalone_mode=False)
    assert words in str(refused.value)


def test_a_policy_for_a_guard_of_fixed_rules_is_refused_before_it_is_loaded(tmp_path):
    make_model(tmp_path)
    (tmp_path / "policy.txt").write_text("U1: talk of zorbals\n")
    given = (
        "--model",
        str(tmp_path),
        "--text",
        "a",
        "--policy",
        str(tmp_path / "policy.txt"),
        "--dialect",
        "guardreasoner_vl",
    )
    with pytest.raises(GuardError, match="policy: this guard judges by its own rules"):
        cli.app(["moderate", *given], standalone_mode=False)


def test_a_mistake_is_one_line_and_exit_code_2_before_torch_is_loaded(tmp_path):
    code, _, said, heavy = loaded("moderate", *MODEL, "--text", "a", cwd=tmp_path)
    assert (code, said.count("\n"), heavy) == (2, 1, []), said
