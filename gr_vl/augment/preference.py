"""Pairs of a right and a wrong answer to one sample, for DPO on hard samples (GuardReasoner, arXiv 2501.18492).

A task is hard for a guard if its k answers hold right and wrong labels. Tasks are tried in the order of the released
code, the request, then the harm of the response, then its refusal; the first hard one gives the sample its one pair.

Ensemble: besides the guard of all sources, others that were each trained without some of them. The paper merges the
pairs of all guards. In the released code, and here by default, sources that all guards saw give the pairs of the full
guard, and every other source those of the reduced guards that were trained on it. Both take the full guard first, then
the others in the order named, and keep the first pair of equal inputs.

Departures: an answer without a verdict is a wrong one; a right one must have ended by itself, since the loss teaches
its end; the pair is a random one (the paper) or by length (`longest`, the released code); a tie is the earlier answer.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gr_vl.augment.mining import keep
from gr_vl.data import io
from gr_vl.data.build.files import whole
from gr_vl.dialects import Dialect
from gr_vl.errors import ConfigError
from gr_vl.schema import Answer, ParseFailure, Sample, Task
from gr_vl.seeding import seed_of
from gr_vl.tasks import GuardSpec, ordered

Choice = Callable[[Sequence[Answer], random.Random], Answer]


def _longest(answers: Sequence[Answer], draw: random.Random) -> Answer:
    return max(answers, key=lambda answer: answer.tokens)


def _shortest(answers: Sequence[Answer], draw: random.Random) -> Answer:
    return min(answers, key=lambda answer: answer.tokens)


def _any(answers: Sequence[Answer], draw: random.Random) -> Answer:
    return draw.choice(answers)


CHOICES: Mapping[str, tuple[Choice, Choice]] = {
    "random": (_any, _any),
    "longest": (_longest, _longest),
    "shortest_right": (_shortest, _longest),
}
"""By name: which right answer is chosen, and which wrong one is rejected."""

_COLUMNS = pa.schema(
    [
        ("task", pa.string()),
        ("chosen", pa.string()),
        ("rejected", pa.string()),
        ("rejected_ended", pa.bool_()),
        ("correct", pa.int32()),
        ("incorrect", pa.int32()),
        ("weight", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Preference:
    """A sample with a right and a wrong answer to one of its tasks."""

    sample: Sample
    task: Task
    chosen: str
    rejected: str
    rejected_ended: bool
    """Whether an end token closed the wrong answer; the right one always has one."""
    correct: int
    """Answers of the k that are right about the task."""
    incorrect: int
    weight: float = 1.0
    """alpha of the loss."""


@dataclass(frozen=True)
class Mined:
    """One guard's pairs, and what it was trained without."""

    pairs: Sequence[Preference]
    without: frozenset[str] = field(default_factory=frozenset)


def pairs(
    samples: Iterable[Sample], answers: Iterable[Answer], dialect: Dialect, *, choice: str, seed: int
) -> list[Preference]:
    """At most one pair a sample, in their order; a draw is a function of the seed and the sample's id alone.

    Samples without answers are passed over. ConfigError lists the known choices.
    """
    if choice not in CHOICES:
        raise ConfigError(f"gr_vl.pairs.choice={choice!r} is unknown; use one of: {', '.join(CHOICES)}")
    given: dict[str, dict[int, Answer]] = {}
    for answer in answers:
        given.setdefault(answer.id, {})[answer.index] = answer
    found = []
    for sample in samples:
        told = given.get(sample.id, {})
        pair = _pair(sample, [told[index] for index in sorted(told)], dialect, choice, seed)
        if pair is not None:
            found.append(pair)
    return found


def _pair(sample: Sample, answers: Sequence[Answer], dialect: Dialect, choice: str, seed: int) -> Preference | None:
    outcomes = [answer.read(dialect.parse) for answer in answers]
    said = [{} if isinstance(outcome, ParseFailure) else outcome.labels for outcome in outcomes]
    # With nothing to judge, a response's labels are conventions of the grammar and not hard.
    truth = {task: label for task, label in dialect.expected(sample).items() if task in sample.labels}
    for task in ordered(dialect.tasks):
        if task not in truth or (task.needs_response and sample.response is None):
            continue
        hits = [labels.get(task) == truth[task] for labels in said]
        right = [answer for answer, hit in zip(answers, hits, strict=True) if hit and answer.finished]
        wrong = [answer for answer, hit in zip(answers, hits, strict=True) if not hit]
        if not answers or not right or not keep("mixed", sum(hits), len(hits)):
            continue
        draw, (best, worst) = random.Random(f"{seed}:preference:{sample.id}"), CHOICES[choice]
        chosen, rejected = best(right, draw), worst(wrong, draw)
        return Preference(sample, task, chosen.text, rejected.text, rejected.finished, sum(hits), len(wrong))
    return None


MERGES = ("released", "paper")
"""The ways to merge an ensemble's pairs."""


def merge(full: Sequence[Preference], reduced: Sequence[Mined], *, rule: str = "released") -> list[Preference]:
    """The ensemble's pairs: see the module. Without reduced guards, the full guard's alone (HS-DPO self).

    Raises ConfigError when the rule is none of `MERGES`.
    """
    if rule not in MERGES:
        raise ConfigError(f"gr_vl.pairs.merge={rule!r} is unknown; use one of: {', '.join(MERGES)}")
    dropped = frozenset[str]().union(*(guard.without for guard in reduced))
    everything = rule == "paper"
    merged = [pair for pair in full if everything or pair.sample.source not in dropped]
    for guard in reduced:
        merged += [pair for pair in guard.pairs if everything or pair.sample.source in dropped - guard.without]
    return list({_input(pair.sample): pair for pair in reversed(merged)}.values())[::-1]


def _input(sample: Sample) -> str:
    parts = [
        sample.prompt,
        sample.response,
        sample.policy,
        *(hashlib.sha256(data).hexdigest() for data in sample.images),
    ]
    return repr(parts)


def split(found: Sequence[Preference], held_out: float) -> tuple[list[Preference], list[Preference]]:
    """The pairs to learn from, and the share kept to measure by; a sample's side is a function of its id alone.

    Raises ConfigError unless 0 <= held_out < 1.
    """
    if not 0 <= held_out < 1:
        raise ConfigError(f"gr_vl.pairs.held_out={held_out} must lie in [0, 1), so that pairs to learn from remain")
    sides: tuple[list[Preference], list[Preference]] = [], []
    for pair in found:
        sides[seed_of("held-out pair", pair.sample.id) < held_out * 2**63].append(pair)
    return sides


def weighted(found: Sequence[Preference], gamma: float) -> list[Preference]:
    """Pairs with alpha = 1 + Norm(incorrect - correct, gamma), equation 2: harder samples weigh more.

    Norm maps the smallest and the largest difference of the set to -gamma and gamma, linearly; a set of one difference
    gets alpha 1. Raises ConfigError unless 0 <= gamma < 1.
    """
    if not 0 <= gamma < 1:
        raise ConfigError(f"gr_vl.pairs.gamma={gamma} must lie in [0, 1), so that no pair is unlearned; use 0.2")
    differences = [pair.incorrect - pair.correct for pair in found]
    low, high = min(differences, default=0), max(differences, default=0)
    if low == high:
        return [replace(pair, weight=1.0) for pair in found]
    return [
        replace(pair, weight=1 + gamma * (2 * (difference - low) / (high - low) - 1))
        for pair, difference in zip(found, differences, strict=True)
    ]


def count(found: Iterable[Preference]) -> dict[str, int]:
    """Number of pairs, in all and by task and by source: {"n": .., "task/prompt": .., "source/a": ..}."""
    found = list(found)
    tally = Counter(f"task/{pair.task}" for pair in found) + Counter(f"source/{pair.sample.source}" for pair in found)
    return {"n": len(found)} | dict(sorted(tally.items()))


def _schema(guard: GuardSpec | None) -> pa.Schema:
    corpus = io.schema(guard)
    return pa.schema([*corpus, *_COLUMNS], corpus.metadata)


def write(path: Path, found: Sequence[Preference], guard: GuardSpec) -> None:
    """Write a guard's pairs to parquet; the file appears only when it is whole."""
    schema = _schema(guard)
    rows = [io.to_row(pair.sample, schema) | {name: getattr(pair, name) for name in _COLUMNS.names} for pair in found]
    with whole(path) as part:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), part)


def read(path: Path) -> list[Preference]:
    """The pairs that `write` wrote. Raises DataError when the file is missing or is none of its own."""
    tasks = {str(task): task for task in io.tasks_in(io.schema(io.guard_of(path)))}
    return [
        Preference(sample, **{name: row[name] for name in _COLUMNS.names} | {"task": tasks[row["task"]]})
        for sample, row in io.rows(path, _schema)
    ]
