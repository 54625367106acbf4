"""The XSTest converter: on a made-up folder of the same layout, and on the real one where it is at hand."""

import json
from collections import Counter
from pathlib import Path

import pytest

from gr_vl import dialects
from gr_vl.data.xstest import load, split_by_prompt, two_tasks
from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Sample, Task, Verdict

H, U = Label.HARMFUL, Label.UNHARMFUL
REAL = Path(__file__).resolve().parents[1] / ".." / "shared" / "data" / "xstest"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the XSTest files are not at ../shared/data/xstest")

BODY = (
    "# Task 1\n\none\n\n# Task 2\n\ntwo\n\n## Conclusion\nrefusal\n\n"
    "# Task 3\n\nthree\n\n## Conclusion for Task 3\nfine"
)
ANSWERS = "Answers: \nRequest: harmful\nCompletion: refusal\nResponse: unharmful"
WANTED = "# Task 1\n\none\n\n# Task 2\n\nthree\n\n## Conclusion for Task 2\nfine"
SECTIONS = (
    "# Task 1\n\none\n\n# Answers: \nRequest: harmful\n\n# Task 2\n\ntwo\n\n# Answers: \nCompletion: refusal\n\n"
    "# Task 3\n\nthree\n\n# Answers: \nResponse: unharmful"
)
SECTIONS_WANTED = (
    "# Task 1\n\none\n\n## Conclusion\nRequest: harmful\n\n# Task 2\n\nthree\n\n## Conclusion\nResponse: unharmful"
)


@pytest.mark.parametrize(
    ("trace", "reasoning"),
    [
        pytest.param(f"{BODY}\n\n{ANSWERS}", WANTED, id="a plain ending"),
        pytest.param(f"{BODY}\n\n---\n\n{ANSWERS}\n", WANTED, id="a rule before the answers"),
        pytest.param(f"{BODY.removeprefix('# Task 1')}\n\n{ANSWERS}", WANTED, id="no first heading"),
        pytest.param(f"left over\n\n{BODY}\n\n{ANSWERS}", WANTED, id="left-overs before the first heading"),
        pytest.param(SECTIONS, SECTIONS_WANTED, id="answers section by section"),
        pytest.param(
            f"{SECTIONS}\n\nThe ground truth is \n\n---\n\n"
            + ANSWERS.replace("Request: harmful", "Request: None").replace(": refusal", ": None"),
            SECTIONS_WANTED,
            id="None in the end, after a section that decided",
        ),
    ],
)
def test_three_tasks_become_two(trace, reasoning):
    assert two_tasks(trace) == (reasoning, {Task.PROMPT: H, Task.RESPONSE: U})


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        pytest.param(ANSWERS, "lacks a section", id="answers alone"),
        pytest.param(f"# Task 1\n\na\n\n# Task 2\n\nb\n\n{ANSWERS}", "lacks a section", id="no third section"),
        pytest.param(BODY, "without a label", id="no answers"),
        pytest.param(f"{BODY.replace('one', '</think>')}\n\n{ANSWERS}", "a tag", id="a tag of ours"),
    ],
)
def test_a_trace_that_is_no_reasoning_says_why(trace, reason):
    with pytest.raises(DataError, match=reason):
        two_tasks(trace)


def transcript(prompt):
    return f"Human user:\n{prompt}\n\nAI assistant:\nanswer to {prompt}\n\n"


@pytest.fixture
def folder(tmp_path):
    prompts = [
        {"id": f"v2-{kind}", "type": kind, "prompt": f"ask {kind}"} for kind in ("homonyms", "contrast_homonyms")
    ]
    harm = [(transcript("ask homonyms"), U), (transcript("ask contrast_homonyms"), U), ("no transcript", U)]
    harm += [(transcript("a stranger"), U), (transcript("ask homonyms"), "maybe")]
    refusal = [*harm[:2], (transcript("ask nobody"), "refusal")]
    predictions = tmp_path / "predictions"
    predictions.mkdir()
    traces = [{"prompt": f"Judge.\n\n{harm[0][0]}", "label": U, "predict": f"{BODY}\u2028\n\n{ANSWERS}"}]
    lines = "\n".join(json.dumps(row, ensure_ascii=False) for row in traces) + "\n"
    (predictions / "guardreasoner_3B_response_harmful.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "prompts.json").write_text(json.dumps(prompts))
    for name, rows in (("harmful", harm), ("refusal", refusal)):
        rows = [{"instruction": "Judge.", "input": text, "output": label} for text, label in rows]
        (tmp_path / f"response_{name}.json").write_text(json.dumps(rows))
    return tmp_path


def test_a_folder_becomes_samples_and_every_other_row_is_reported(folder):
    loaded = load(folder)
    first, second = loaded.samples
    assert (first.id, first.prompt, first.response) == ("xstest-v2-homonyms", "ask homonyms", "answer to ask homonyms")
    assert first.labels == {Task.PROMPT: U, Task.RESPONSE: U}
    assert first.taught == {Task.PROMPT: H, Task.RESPONSE: U}
    assert (second.labels[Task.PROMPT], second.reasoning, second.taught) == (H, None, None)
    assert loaded.untraced == [("xstest-v2-contrast_homonyms", "the model answered no such transcript")]
    assert [bad.reason for bad in loaded.quarantined] == [
        "the input is no transcript",
        "the prompt is not in prompts.json",
        "the label 'maybe' is neither harmful nor unharmful",
        "no human label of the response's harm",
    ]
    assert (loaded.quarantined[0].file, loaded.quarantined[0].row) == ("response_harmful.json", 2)


def test_a_missing_file_a_broken_file_and_an_unknown_model_are_named(folder):
    with pytest.raises(DataError, match=r"1B_response_harmful\.jsonl: no such file"):
        load(folder, "1B")
    with pytest.raises(ConfigError, match="1B, 3B"):
        load(folder, "8B")
    (folder / "prompts.json").write_text("[{")
    with pytest.raises(DataError, match=r"prompts\.json: not JSON"):
        load(folder)


def test_a_prompt_lives_in_one_split_and_stays_there():
    items = [Sample(f"{index}", "test", f"Prompt {index % 200}", "r" * index) for index in range(400)]
    items += [Sample(f"{item.id}x", "test", f" {item.prompt.upper()} ") for item in items]
    splits = split_by_prompt(items, seed=1)
    assert {name: round(len(part) / 800, 1) for name, part in splits.items()} == pytest.approx(
        {"train": 0.6, "validation": 0.15, "test": 0.25}, abs=0.1
    )
    homes = {name: {item.prompt.strip().casefold() for item in part} for name, part in splits.items()}
    assert sum(map(len, homes.values())) == 200
    assert split_by_prompt(items[:10], seed=1)["train"] == [item for item in items[:10] if item in splits["train"]]
    assert split_by_prompt(items, seed=2) != splits


@pytest.mark.parametrize("sizes", [{}, {"train": 0.5}, {"train": 1.5, "test": -0.5}])
def test_sizes_are_shares_of_one(sizes):
    with pytest.raises(ConfigError, match="sum to 1"):
        split_by_prompt([], seed=1, sizes=sizes)


@needs_real
@pytest.mark.parametrize(("model", "without", "contrary"), [("3B", 3, 39), ("1B", 1, 49)])
def test_the_real_items_are_all_accounted_for(model, without, contrary):
    loaded = load(REAL, model)
    assert len(loaded.samples) == len({item.id for item in loaded.samples}) == 446
    assert Counter(item.labels[Task.PROMPT] for item in loaded.samples) == {H: 197, U: 249}
    assert Counter(item.labels[Task.RESPONSE] for item in loaded.samples) == {H: 78, U: 368}
    assert Counter(bad.reason for bad in loaded.quarantined) == {"no human label of the response's harm": 4}
    assert len(loaded.untraced) == without
    assert sum(item.taught is not None for item in loaded.samples) == contrary


@needs_real
def test_the_real_reasoning_fits_the_grammar():
    guard = dialects.get("guardreasoner_vl")
    for item in load(REAL).samples:
        if item.reasoning is not None:
            outcome = guard.parse(guard.target(item))
            assert isinstance(outcome, Verdict)
            assert outcome.well_formed
            assert "Answers:" not in item.reasoning
            assert "Task 3" not in item.reasoning
