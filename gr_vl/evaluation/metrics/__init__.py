"""Scores of a guard: binary F1 per task with harmful, or refusal, as the positive class, and all that belongs to it."""

from gr_vl.evaluation.metrics.bootstrap import Estimate, Interval
from gr_vl.evaluation.metrics.calibration import Calibration, calibration
from gr_vl.evaluation.metrics.confusion import UNPARSABLE, Confusion, plain_mean, weighted_mean
from gr_vl.evaluation.metrics.evaluation import MEAN, Averages, Evaluation, evaluate, score
from gr_vl.evaluation.metrics.judged import Judged, Parser, judge, tasks_of
from gr_vl.evaluation.metrics.paired import Paired, compare, difference_interval

__all__ = [
    "MEAN",
    "UNPARSABLE",
    "Averages",
    "Calibration",
    "Confusion",
    "Estimate",
    "Evaluation",
    "Interval",
    "Judged",
    "Paired",
    "Parser",
    "calibration",
    "compare",
    "difference_interval",
    "evaluate",
    "judge",
    "plain_mean",
    "score",
    "tasks_of",
    "weighted_mean",
]
