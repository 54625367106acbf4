"""The rewards of a whole step: groups scored as groups, and what each term did."""

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from rewards.answer import Reading
from rewards.safety import RewardBreakdown, SafetyReward

Groups = Sequence[Hashable]
"""For each answer, what it shares with the other answers to its prompt."""


def score_step(reward: SafetyReward, readings: Sequence[Reading], groups: Groups) -> list[RewardBreakdown]:
    """Score every answer among the answers to its own prompt; the result is in the order of `readings`."""
    scored: dict[int, RewardBreakdown] = {}
    for rows in _rows(groups):
        scored.update(zip(rows, reward.score_group([readings[row] for row in rows]), strict=True))
    return [scored[row] for row in range(len(readings))]


def term_statistics(terms: Sequence[Mapping[str, float]], groups: Groups) -> dict[str, float]:
    """Of each term its mean, its standard deviation over the step, and the share of groups that it does not tell apart.

    >>> term_statistics([{"accuracy": 1.0}, {"accuracy": 0.0}, {"accuracy": 1.0}, {"accuracy": 1.0}], "aabb")
    {'accuracy': 0.75, 'accuracy_std': 0.4330127018922193, 'accuracy_zero_spread': 0.5}
    """
    found: dict[str, float] = {}
    for name in terms[0]:
        values = np.array([term[name] for term in terms])
        flat = [np.ptp(values[rows]) == 0 for rows in _rows(groups)]
        found |= {name: values.mean(), f"{name}_std": values.std(), f"{name}_zero_spread": np.mean(flat)}
    return {name: float(value) for name, value in found.items()}


def _rows(groups: Groups) -> list[list[int]]:
    """The positions of each group's answers, in the order given."""
    rows: defaultdict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        rows[group].append(row)
    return list(rows.values())
