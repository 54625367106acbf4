"""How often the 95% interval of F1, and of a paired difference in F1, holds the truth, in a world whose truth is known.

Each line is one kind of benchmark: its size, share of harmful samples, and a guard's recall and false-positive rate.
Samples are drawn, scored with `gr_vl.evaluation.metrics`, and the interval is held against the F1 of the whole world.
`percentile` is the plain bootstrap interval of the same resamples. A set with about one error or none is the limit of
every bootstrap: such sets stand last to show it. The interval of a difference needs about 20 samples that flip; below
that, believe the exact McNemar test.

    python bench/bootstrap_coverage.py [worlds, default 2000]
"""

import sys

import numpy as np

from gr_vl.evaluation.metrics.bootstrap import Bootstrap
from gr_vl.evaluation.metrics.confusion import Cell
from gr_vl.evaluation.metrics.table import f1_of_draws

PLACES = np.array([Cell.TP, Cell.FN, Cell.FP, Cell.TN])
# name, samples, share harmful, recall, false-positive rate
WORLDS = (
    ("XSTest responses, a good guard", 446, 0.175, 0.90, 0.02),
    ("ToxicChat, an average guard", 2853, 0.127, 0.75, 0.04),
    ("SafeRLHF, an average guard", 2000, 0.5, 0.65, 0.25),
    ("HarmImageTest, an average guard", 3295, 0.254, 0.70, 0.12),
    ("Aegis, a good guard", 359, 0.646, 0.90, 0.20),
    ("demo, a good guard", 1000, 0.5, 0.95, 0.05),
    ("a modality of 200, a good guard", 200, 0.5, 0.95, 0.05),
    ("a source of 100, an average guard", 100, 0.5, 0.80, 0.20),
)
LIMITS = (
    ("a source of 60, few harmful, hardly an error", 60, 0.175, 0.90, 0.02),
    ("100 harmful samples, one error expected", 100, 1.0, 0.99, 0.0),
)


def f1(share: float, recall: float, alarms: float) -> float:
    """F1 of the whole world."""
    tp, fn, fp = share * recall, share * (1 - recall), (1 - share) * alarms
    return 2 * tp / (2 * tp + fp + fn)


def draw(rng: np.random.Generator, n: int, share: float, recall: float, alarms: float) -> np.ndarray:
    """The cells of n samples of one guard."""
    chances = [share * recall, share * (1 - recall), (1 - share) * alarms, (1 - share) * (1 - alarms)]
    return PLACES[rng.choice(4, size=n, p=chances)]


def single(rng: np.random.Generator, n: int, share: float, recall: float, alarms: float) -> tuple[bool, bool]:
    """Whether the interval and the plain one of a drawn sample hold the truth."""
    bootstrap = Bootstrap(draw(rng, n, share, recall, alarms)[:, None], int(rng.integers(2**31)))
    values = f1_of_draws(bootstrap.kinds[:, 0], bootstrap.draws)
    interval, truth = bootstrap.estimate(values).interval, f1(share, recall, alarms)
    resampled = values[len(bootstrap.kinds) + 1 :]
    low, high = np.quantile(resampled[~np.isnan(resampled)], [0.025, 0.975])
    return interval is not None and interval[0] <= truth <= interval[1], low <= truth <= high


def paired(rng: np.random.Generator, n: int, share: float, recall: float, alarms: float) -> tuple[bool, int]:
    """Whether the difference's interval holds the truth, and flips; the other guard answers a fifth of it anew."""
    ours = draw(rng, n, share, recall, alarms)
    harmful = np.isin(ours, (Cell.TP, Cell.FN))
    again = rng.random(n)
    other = np.where(harmful, np.where(again < recall, Cell.TP, Cell.FN), np.where(again < alarms, Cell.FP, Cell.TN))
    weaker = np.where(harmful & (other == Cell.TP) & (rng.random(n) < 0.1), Cell.FN, other)
    theirs = np.where(rng.random(n) < 0.2, weaker, ours)
    bootstrap = Bootstrap(np.column_stack([ours, theirs]), int(rng.integers(2**31)))
    values = [f1_of_draws(bootstrap.kinds[:, column], bootstrap.draws) for column in (0, 1)]
    low, high = bootstrap.estimate(values[0] - values[1]).interval
    held = low <= f1(share, recall, alarms) - f1(share, recall * 0.98, alarms) <= high
    return held, int(np.count_nonzero(ours != theirs))


def main() -> None:
    """Print one line a world."""
    worlds = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(f"{worlds} worlds each; coverage of the 95% interval in percent")
    print(f"{'world':<46} {'F1':>6} {'BCa':>6} {'percentile':>11} {'paired BCa':>11} {'flips':>6}")
    for name, *world in (*WORLDS, *LIMITS):
        rng = np.random.default_rng(1)
        held = np.array([single(rng, *world) for _ in range(worlds)]).mean(axis=0)
        both, flips = np.array([paired(rng, *world) for _ in range(worlds)]).mean(axis=0)
        cells = f"{100 * f1(*world[1:]):6.2f} {100 * held[0]:6.1f} {100 * held[1]:11.1f} {100 * both:11.1f}"
        print(f"{name:<46} {cells} {flips:6.1f}")


if __name__ == "__main__":
    main()
