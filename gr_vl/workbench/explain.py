"""Why an answer got its reward: the terms, what they were computed from, and what would change the total."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from gr_vl.schema import Task, Verdict
from gr_vl.workbench.rollouts import Rollout
from rewards import Reading, SafetyReward

STEP = 30
"""Tokens that a change of length is shown for."""


def explain(reward: SafetyReward, group: Sequence[Rollout], index: int) -> dict[str, Any]:
    """Everything behind the reward of one answer of a group, as plain values."""
    readings = [reward.read(answer.text, answer.labels, **answer.lengths) for answer in group]
    own = readings[index]
    got = reward.score_group(readings)[index]

    def gain(changed: Reading) -> float:
        return reward.score_group([*readings[:index], changed, *readings[index + 1 :]])[index].total - got.total

    return {
        "place": group[index].place,
        "answers in the group": len(group),
        "inputs": {
            "truth": {str(task): str(label) for task, label in own.labels.items()},
            "said": {str(t): str(v) for t, v in own.outcome.labels.items()} if isinstance(own.outcome, Verdict) else {},
            "parse failure": str(got.failure) or "none",
            "finished": own.finished,
            "gate": reward.gate,
            "gate passed": bool(got.format),
            "accuracy": got.accuracy,
            "reasoning_tokens": own.reasoning_tokens,
            "output_tokens": own.output_tokens,
            "characters": own.characters,
            "budget": reward.budget,
            "l": got.length,
            "tokens are estimated": group[index].estimated,
        },
        "terms": [
            {"term": weighted.name, "is": repr(weighted), "adds": got.terms[weighted.name]} for weighted in reward.terms
        ],
        "scale": reward.scale,
        "clamp": [None if math.isinf(bound) else bound for bound in reward.clamp],
        "total": got.total,
        "changes": {words: gain(change(own)) for words, change in _changes(own).items()},
    }


def _changes(own: Reading) -> dict[str, Callable[[Reading], Reading]]:
    """What could have been otherwise, in words, and how."""
    changes: dict[str, Callable[[Reading], Reading]] = {}
    if not isinstance(own.outcome, Verdict):
        changes["well formed, closed and right"] = _mended
    else:
        said = own.outcome.labels
        for task, label in own.labels.items():
            wrong = said.get(task) != label
            changes[f"{task} {'right' if wrong else 'wrong'}"] = partial(_turned, task=task)
        if not (own.outcome.well_formed and own.finished):
            changes["well formed and closed by an end token"] = _formed
        elif not own.outcome.sectioned:
            changes["a section for every task"] = _formed
    fewer = min(STEP, own.reasoning_tokens)
    if fewer:
        changes[f"{fewer} tokens fewer"] = partial(_longer, tokens=-fewer)
    changes[f"{STEP} tokens more"] = partial(_longer, tokens=STEP)
    return changes


def _turned(reading: Reading, task: Task) -> Reading:
    assert isinstance(reading.outcome, Verdict)
    truth, said = reading.labels[task], dict(reading.outcome.labels)
    said[task] = task.other(truth) if said.get(task) == truth else truth
    return replace(reading, outcome=replace(reading.outcome, labels=said))


def _formed(reading: Reading) -> Reading:
    assert isinstance(reading.outcome, Verdict)
    formed = replace(reading.outcome, well_formed=True, sectioned=True)
    return replace(reading, outcome=formed, finished=True, blocks=True)


def _mended(reading: Reading) -> Reading:
    right = Verdict(reading.labels, "", well_formed=True, sectioned=True)
    return replace(reading, outcome=right, finished=True, blocks=True)


def _longer(reading: Reading, tokens: int) -> Reading:
    """Longer reasoning, with as many characters a token as the answer has."""
    characters = round(tokens * reading.characters / max(reading.output_tokens, 1))
    return replace(
        reading,
        reasoning_tokens=reading.reasoning_tokens + tokens,
        output_tokens=reading.output_tokens + tokens,
        characters=max(reading.characters + characters, 0),
    )
