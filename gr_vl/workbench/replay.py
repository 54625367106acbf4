"""Saved rollouts through several rewards: how each spreads, and where two of them disagree within a group."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gr_vl.workbench.rollouts import Rollouts
from rewards import SafetyReward

Totals = list[NDArray[np.float64]]
"""The totals of every group."""
_DIGITS = 9
"""Totals that agree to so many decimals are equal: sums of floats in another order are."""


@dataclass(frozen=True)
class Replay:
    """What came out, as plain values, and the totals behind it."""

    summary: dict[str, Any]
    totals: Mapping[str, Totals]


def replay(rollouts: Rollouts, rewards: Mapping[str, SafetyReward]) -> Replay:
    """Score every group with every reward, all of one dialect, and compare."""
    groups = rollouts.groups
    # Rewards of one dialect read an answer alike: once is enough.
    readings = [[next(iter(rewards.values())).read(a.text, a.labels, **a.lengths) for a in group] for group in groups]
    totals: dict[str, Totals] = {}
    failures: Counter[str] = Counter()
    spreads = {}
    for name, reward in rewards.items():
        scored = [reward.score_group(group) for group in readings]
        totals[name] = [np.array([got.total for got in group]).round(_DIGITS) for group in scored]
        correct = [np.array([got.accuracy * got.format for got in group]) for group in scored]
        failures = Counter(str(got.failure) for group in scored for got in group if got.failure)
        spreads[name] = _spread(totals[name], correct)
    summary = {
        "answers": len(rollouts.answers),
        "groups": len(groups),
        "unreadable lines": len(rollouts.unreadable),
        "answers with estimated lengths": sum(answer.estimated for answer in rollouts.answers),
        "parse failures": dict(sorted(failures.items())),
        "rewards": spreads,
        "pairs": [_pair(a, b, totals) for a, b in combinations(rewards, 2)],
    }
    return Replay(summary, totals)


def _spread(totals: Totals, correct: Totals) -> dict[str, float]:
    values = np.concatenate(totals)
    low, first, middle, third, high = np.quantile(values, [0, 0.25, 0.5, 0.75, 1])
    return {
        "mean": float(values.mean()),
        "sd": float(values.std()),
        "min": float(low),
        "q25": float(first),
        "median": float(middle),
        "q75": float(third),
        "max": float(high),
        "groups with zero spread": float(np.mean([np.ptp(group) == 0 for group in totals])),
        "groups out of order": float(np.mean([flips(*pair) for pair in zip(totals, correct, strict=True)])),
    }


def _pair(a: str, b: str, totals: Mapping[str, Totals]) -> dict[str, Any]:
    pairs = list(zip(totals[a], totals[b], strict=True))
    both = [spearman(x, y) for x, y in pairs if np.ptp(x) and np.ptp(y)]
    return {
        "a": a,
        "b": b,
        "rank correlation": float(np.mean(both)) if both else None,
        "groups compared": len(both),
        "groups flipped": float(np.mean([flips(x, y) for x, y in pairs])),
    }


def flips(a: NDArray[np.float64], b: NDArray[np.float64]) -> bool:
    """Whether some two answers of a group stand in opposite orders under `a` and `b`; a tie is no order."""
    return bool(((a[:, None] - a[None]) * (b[:, None] - b[None]) < 0).any())


def spearman(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Spearman's rank correlation, ties at their mean rank; neither side may be constant."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((counts.cumsum() - (counts - 1) / 2)[inverse])


def plot(found: Replay, path: Path) -> None:
    """A histogram of every reward; the file's ending says which format."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(found.totals), figsize=(4 * len(found.totals), 3), squeeze=False)
    for panel, (name, totals) in zip(panels[0], found.totals.items(), strict=True):
        panel.hist(np.concatenate(totals), bins=40, color="#33658a")
        panel.set(title=name, xlabel="reward", ylabel="answers", yscale="log")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
