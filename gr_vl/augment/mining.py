"""Hard-sample mining: keep the samples that the cold-started guard gets wrong.

GuardReasoner-VL answers every sample 4 times and keeps those with 4 wrong answers (`all_wrong`); GuardReasoner keeps
those with right and wrong ones (`mixed`). An answer is right when every known label is; one without a verdict is wrong.

Departure: the filter applies to every modality; `image_bypass` restores the released code, in which image-only samples
are eligible whatever the answers.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from gr_vl.errors import ConfigError, DataError
from gr_vl.schema import Label, Modality, ParseFailure, Task, Verdict

if TYPE_CHECKING:
    from gr_vl.augment.difficulty import Errors

RULES: Mapping[str, Callable[[int, int], bool]] = {
    "all_wrong": lambda right, answers: right == 0,
    "any_wrong": lambda right, answers: right < answers,
    "mixed": lambda right, answers: 0 < right < answers,
}


def keep(rule: str, n_correct: int, n_answers: int) -> bool:
    """Whether a sample with so many right answers is hard.

    >>> [rule for rule in RULES if keep(rule, 1, 4)]
    ['any_wrong', 'mixed']
    """
    if rule not in RULES:
        raise ConfigError(f"gr_vl.mine.rule={rule!r} is unknown; use one of: {', '.join(RULES)}")
    if n_answers < 1 or not 0 <= n_correct <= n_answers:
        raise DataError(f"{n_correct} right of {n_answers} answers is no count; generate the answers anew")
    return RULES[rule](n_correct, n_answers)


def is_correct(outcome: Verdict | ParseFailure, expected: Mapping[Task, Label]) -> bool:
    """Whether every expected label is stated; with nothing expected, every verdict is right, hence never hard."""
    if isinstance(outcome, ParseFailure):
        return False
    return all(outcome.labels.get(task) == label for task, label in expected.items())


def select(
    rows: Sequence["Errors"],
    rule: str,
    *,
    limit: int | None,
    seed: int,
    image_bypass: bool = False,
    easy: float = 0.0,
) -> set[str]:
    """The ids of the hard samples; above `limit`, of a uniform draw of that many.

    A share `easy` of the result are samples with right answers only, as many as there are. Not in the paper: a hard set
    may lack what the guard never gets wrong, and RL then forgets it.
    Each sample's draw is a function of the seed and its id, so neither order nor the other samples change it.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"gr_vl.mine.keep={limit} must be at least 1, or null for no limit")
    hard = {
        row.id
        for row in rows
        if (image_bypass and row.modality == Modality.IMAGE) or keep(rule, row.right, row.answers)
    }
    if limit is not None:
        hard = _drawn(hard, max(round(limit * (1 - easy)), 1), seed)
    known = {row.id for row in rows if row.n_wrong == 0} - hard
    return hard | _drawn(known, round(len(hard) * easy / (1 - easy)), seed)


def _drawn(ids: Iterable[str], number: int, seed: int) -> set[str]:
    return set(sorted(ids, key=lambda id: random.Random(f"{seed}:mining:{id}").random())[:number])
