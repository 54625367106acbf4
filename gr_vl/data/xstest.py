"""XSTest with human labels and a released guard's reasoning, as samples of the two GuardReasoner-VL tasks.

XSTest (CC-BY-4.0) asks harmless things in alarming words, and contrasts each kind with truly harmful requests: the
request label is the type of the prompt. XSTest-Response (ODC-BY) labels what an assistant answered. GuardReasoner's
released answers (https://github.com/yueliu1999/GuardReasoner) add reasoning over three tasks: request, refusal,
response. The refusal section is cut out, since GuardReasoner-VL dropped that task, and the third becomes the second.

The folder holds prompts.json, response_harmful.json, response_refusal.json and
predictions/guardreasoner_{1B,3B}_response_harmful.jsonl; files join on the text of the transcript.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from gr_vl.data.text import decoded, parse_json
from gr_vl.errors import Broken, ConfigError, DataError
from gr_vl.schema import Label, Sample, Task

SPLITS: Mapping[str, float] = {"train": 0.6, "validation": 0.15, "test": 0.25}

TRANSCRIPT = re.compile(r"Human user:\n(.*?)\n\nAI assistant:\n(.*)", re.DOTALL)
_FIRST_HEADING = re.compile(r"^# Task 1[ \t]*$", re.MULTILINE)
_SECTION = re.compile(r"^# Task ([23])\b", re.MULTILINE)
_FINAL_ANSWERS = re.compile(
    r"(?:^The ground truth is[^\n]*\n\s*)?(?:^---[ \t]*\n\s*)?"
    r"^Answers:[ \t]*\nRequest: \w+\s*\nCompletion: \w+\s*\nResponse: \w+\s*\Z",
    re.MULTILINE,
)
_SECTION_ANSWER = re.compile(r"^(?:# )?Answers:[ \t]*$", re.MULTILINE)
_LABEL = re.compile(r"^(Request|Response): (harmful|unharmful)[ \t]*$", re.MULTILINE)
_TASKS = {"Request": Task.PROMPT, "Response": Task.RESPONSE}


@dataclass
class Loaded:
    """What a folder held."""

    samples: list[Sample] = field(default_factory=list)
    quarantined: list[Broken] = field(default_factory=list)
    """Rows that became no sample."""
    untraced: list[tuple[str, str]] = field(default_factory=list)
    """Ids of samples that are kept without reasoning, and why: good for RL and evaluation, not for SFT."""


def load(folder: Path, model: str = "3B") -> Loaded:
    """Every item that humans labelled, with the reasoning of GuardReasoner `model` (1B or 3B).

    Raises DataError when a file is missing or broken; a row that cannot be used is reported in the result.
    """
    if model not in ("1B", "3B"):
        raise ConfigError(f"gr_vl.data.xstest.model={model!r} has no released answers; use one of: 1B, 3B")
    prompts = {row["prompt"].strip(): row for row in _rows(folder / "prompts.json")}
    predictions = folder / "predictions" / f"guardreasoner_{model}_response_harmful.jsonl"
    traces = {_transcript(row["prompt"]): row["predict"] for row in _rows(predictions)}
    loaded, seen = Loaded(), set()
    for number, row in enumerate(_rows(folder / "response_harmful.json")):
        seen.add(row["input"])
        try:
            sample = _sample(row, prompts)
        except Broken as error:
            loaded.quarantined.append(error.at("response_harmful.json", number))
            continue
        _add(loaded, sample, traces.get(row["input"]))
    for number, row in enumerate(_rows(folder / "response_refusal.json")):
        if row["input"] not in seen:
            unlabelled = Broken("input", row["input"], "no human label of the response's harm")
            loaded.quarantined.append(unlabelled.at("response_refusal.json", number))
    return loaded


def two_tasks(trace: str) -> tuple[str, dict[Task, Label]]:
    """Reasoning over request and response, and the labels it ends in. Raises DataError when that cannot be had.

    A label is the last that the trace states; some final blocks say None after a section that decided.
    """
    labels = {_TASKS[name]: Label(word) for name, word in _LABEL.findall(trace)}
    body = without_answers(trace)
    starts: dict[str, int] = {}
    for match in _SECTION.finditer(body):
        starts.setdefault(match[1], match.start())
    refusal, response = starts.get("2", -1), starts.get("3", -1)
    if not 0 < refusal < response:
        raise DataError("the reasoning lacks a section that the two tasks need")
    if any(task not in labels for task in _TASKS.values()):
        raise DataError("the reasoning ends without a label for each task")
    if re.search(r"</?(?:think|result)>", trace):
        raise DataError("the reasoning contains a tag of the target grammar")
    last = body[response:].strip().replace("Task 3", "Task 2")
    return f"{_request_section(body[:refusal])}\n\n{last}", labels


def without_answers(trace: str) -> str:
    """A trace without its final block of answers, and with other words for those that end its sections."""
    return _SECTION_ANSWER.sub("## Conclusion", _FINAL_ANSWERS.sub("", trace))


def _request_section(text: str) -> str:
    """Some traces run on from the response that they judge before the first heading; some never write the heading."""
    heading = _FIRST_HEADING.search(text)
    section = text[heading.start() :].strip() if heading else text.strip()
    return section if section.startswith("# Task 1") else f"# Task 1\n\n{section}"


def split_by_prompt(
    samples: Sequence[Sample], seed: int, sizes: Mapping[str, float] = SPLITS
) -> dict[str, list[Sample]]:
    """Splits of about these shares, in the order given; the split of a prompt is a function of seed and prompt alone.

    Prompts that differ in case or white space count as one, so none appears in two splits.
    """
    if not sizes or min(sizes.values()) < 0 or abs(sum(sizes.values()) - 1) > 1e-9:
        raise ConfigError(f"gr_vl.data.xstest.sizes={dict(sizes)} must be shares that sum to 1")
    splits: dict[str, list[Sample]] = {name: [] for name in sizes}
    for sample in samples:
        splits[_split_of(sample.prompt, seed, sizes)].append(sample)
    return splits


def _split_of(prompt: str, seed: int, sizes: Mapping[str, float]) -> str:
    key = f"{seed}:split:{' '.join(prompt.casefold().split())}"
    draw = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8]) / 2**64
    return next((name for name, end in zip(sizes, accumulate(sizes.values()), strict=True) if draw < end), [*sizes][-1])


def _add(loaded: Loaded, sample: Sample, trace: str | None) -> None:
    try:
        if trace is None:
            raise DataError("the model answered no such transcript")
        reasoning, stated = two_tasks(trace)
    except DataError as error:
        loaded.untraced.append((sample.id, str(error)))
        loaded.samples.append(sample)
        return
    taught = stated if stated != sample.labels else None
    loaded.samples.append(replace(sample, reasoning=reasoning, taught=taught))


def _sample(row: Mapping[str, Any], prompts: Mapping[str, Mapping[str, Any]]) -> Sample:
    match = TRANSCRIPT.fullmatch(row["input"])
    if match is None:
        raise Broken("input", row["input"], "the input is no transcript")
    known = prompts.get(match[1].strip())
    if known is None:
        raise Broken("input", row["input"], "the prompt is not in prompts.json")
    if row["output"] not in ("harmful", "unharmful"):
        raise Broken("output", row["output"], f"the label {row['output']!r} is neither harmful nor unharmful")
    request = Label.HARMFUL if known["type"].startswith("contrast_") else Label.UNHARMFUL
    return Sample(
        id=f"xstest-{known['id']}",
        source="xstest",
        prompt=match[1],
        response=match[2].strip(),
        labels={Task.PROMPT: request, Task.RESPONSE: Label(row["output"])},
    )


def _transcript(prompt: str) -> str:
    """The part that identifies an item: the instruction before it differs between releases."""
    return "".join(prompt.partition("Human user:\n")[1:])


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        raise DataError(f"{path}: no such file; the folder needs the layout in the docstring of gr_vl.data.xstest")
    try:
        text = decoded(path.read_bytes())
        lines = [line for line in text.split("\n") if line] if path.suffix == ".jsonl" else None
        yield from parse_json(text) if lines is None else map(parse_json, lines)
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); fetch it again") from None
