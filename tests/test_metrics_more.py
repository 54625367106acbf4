"""Ratios, averages under both failure rules, intervals, paired tests and calibration, against numbers done by hand."""

import numpy as np
import pytest
from factories import HARMFUL, UNHARMFUL, make_answer, make_sample, make_text
from scipy.stats import binom
from scipy.stats import bootstrap as scipy_bootstrap
from sklearn.metrics import average_precision_score, precision_score, recall_score

from gr_vl import dialects
from gr_vl.errors import DataError
from gr_vl.evaluation.metrics import (
    MEAN,
    Calibration,
    Confusion,
    calibration,
    compare,
    evaluate,
    judge,
    score,
)
from gr_vl.evaluation.metrics.bootstrap import Bootstrap
from gr_vl.evaluation.metrics.confusion import Cell
from gr_vl.evaluation.metrics.table import f1_of_draws
from gr_vl.schema import Answer, FailureReason, Label, Sample, Task, Verdict

H, U = HARMFUL, UNHARMFUL


def judged(truths, said, sources=None):
    """Prompt-only samples with their answers; None stands for an answer that cannot be parsed."""
    sources = sources or ["a"] * len(truths)
    samples = [make_sample(str(i), t, source=s) for i, (t, s) in enumerate(zip(truths, sources, strict=True))]
    texts = ["I cannot say." if label is None else make_text(label) for label in said]
    return judge(samples, [make_answer(str(i), text) for i, text in enumerate(texts)], "guardreasoner_vl")


@pytest.mark.parametrize(
    ("name", "counts", "expected"),
    [
        pytest.param("precision", Confusion(3, 1, 2, 4), 3 / 4, id="three of four alarms are right"),
        pytest.param("precision", Confusion(0, 0, 2, 4), None, id="without an alarm there is no precision"),
        pytest.param("recall", Confusion(3, 1, 2, 4), 3 / 5, id="three of five harmful samples are found"),
        pytest.param("recall", Confusion(0, 1, 0, 4), None, id="without a harmful sample there is no recall"),
        pytest.param("false_positive_rate", Confusion(3, 1, 2, 4), 1 / 5, id="one of five benign samples is flagged"),
        pytest.param(
            "false_positive_rate", Confusion(3, 0, 2, 0), None, id="without a benign sample no rate of alarms"
        ),
        pytest.param("accuracy", Confusion(3, 1, 2, 4), 7 / 10, id="seven of ten are right"),
    ],
)
def test_ratios(name, counts, expected):
    assert getattr(counts, name) == expected


def test_ratios_agree_with_scikit_learn():
    truths, said = [H, U, H, H, U, U, H, U, H], [H, H, U, H, U, H, H, U, U]
    counts = score(judged(truths, said)).overall[Task.PROMPT]
    assert counts.precision == pytest.approx(precision_score(truths, said, pos_label=H))
    assert counts.recall == pytest.approx(recall_score(truths, said, pos_label=H))


def test_both_rules_and_both_averages_are_there_whatever_was_asked_for():
    # Source a: a hit, and a harmful sample without a verdict. Source b: two hits, two false alarms, two right.
    truths, said = [H, H, H, H, U, U, U, U], [H, None, H, H, H, H, U, U]
    items = judged(truths, said, ["a"] * 2 + ["b"] * 6)
    for asked in ("wrong", "drop"):
        f1 = score(items, unparsable=asked).f1
        wrong, drop = f1["wrong"]["prompt"], f1["drop"]["prompt"]
        assert wrong.pooled.value == pytest.approx(6 / 9)  # 3 hits, 2 alarms, 1 miss
        assert wrong.weighted.value == wrong.plain.value == pytest.approx(2 / 3)
        assert drop.pooled.value == pytest.approx(6 / 8)
        assert drop.weighted.value == pytest.approx((1 * 1 + 6 * 2 / 3) / 7)  # the dropped answer weighs nothing
        assert drop.plain.value == pytest.approx((1 + 2 / 3) / 2)
        assert f1["wrong"][MEAN] == wrong


def test_the_third_task_counts_refusal_as_positive():
    sample = Sample("a", "x", "Hi?", "No.", labels={Task.REFUSAL: Label.REFUSAL})
    other = Sample("b", "x", "Hi?", "Yes.", labels={Task.REFUSAL: Label.COMPLIANCE})
    items = judge(
        [sample, other],
        [make_answer("a"), make_answer("b")],
        lambda _: Verdict({Task.REFUSAL: Label.REFUSAL}, "", True),
    )
    result = score(items, asked=dialects.get("guardreasoner").tasks)
    assert result.tasks == (Task.REFUSAL,)
    assert result.overall == {Task.REFUSAL: Confusion(tp=1, fp=1)}
    assert result.summary() | {"refusal_f1": 2 / 3, "prompt_f1": None, "mean_f1": 2 / 3} == result.summary()


def test_a_task_that_the_guard_never_speaks_of_is_not_measured():
    samples = [Sample(id, "x", "Hi?", "No.", labels={Task.PROMPT: U, Task.REFUSAL: Label.REFUSAL}) for id in "ab"]
    result = evaluate(samples, [make_answer("a", make_text(U)), make_answer("b", "?")], dialect="guardreasoner_vl")
    assert (result.tasks, result.overall) == ((Task.PROMPT,), {Task.PROMPT: Confusion(tn=1, fp=1)})


def test_a_verdict_that_leaves_a_measured_task_out_has_failed_there_under_both_rules():
    # Ten samples, all harmful: one verdict names both tasks, nine leave the response out. No prompt is wrong.
    samples = [make_sample(str(i), H, H) for i in range(10)]
    said = [{Task.PROMPT: H, Task.RESPONSE: H}, *[{Task.PROMPT: H}] * 9]
    verdicts = iter(Verdict(labels, "", True) for labels in said)
    items = judge(samples, [make_answer(sample.id) for sample in samples], lambda _: next(verdicts))
    wrong, drop = (score(items, unparsable=rule) for rule in ("wrong", "drop"))
    assert wrong.overall == {Task.PROMPT: Confusion(tp=10), Task.RESPONSE: Confusion(tp=1, fn=9)}
    assert drop.overall == {Task.PROMPT: Confusion(tp=10), Task.RESPONSE: Confusion(tp=1)}
    for result in (wrong, drop):
        pooled = {rule: result.f1[rule]["response"].pooled.value for rule in result.f1}
        assert pooled == {"wrong": pytest.approx(2 / 11), "drop": 1.0}
        assert (result.failures, result.parse_failure_rate) == ({FailureReason.MISSING_LABEL: 9}, 0.9)


def test_two_guards_are_compared_on_what_both_speak_of():
    samples = [make_sample(id, H, H) for id in "ab"]
    answers = [make_answer(id) for id in "ab"]
    both = judge(samples, answers, lambda _: Verdict({Task.PROMPT: H, Task.RESPONSE: H}, "", True))
    one = judge(samples, answers, lambda _: Verdict({Task.PROMPT: H}, "", True))
    assert [pair.task for pair in compare(both, one)] == [Task.PROMPT]


def test_a_refusal_label_without_a_response_is_not_measured():
    sample = Sample("a", "x", "Hi?", labels={Task.PROMPT: U, Task.REFUSAL: Label.REFUSAL})
    assert judge([sample], [make_answer("a", make_text(U))], "guardreasoner_vl")[0].truth == {Task.PROMPT: U}


def test_every_source_has_an_interval_of_its_own_width():
    items = judged([H, U] * 200, [H, H] * 10 + [H, U] * 190, ["small"] * 20 + ["large"] * 380)
    result = score(items)
    assert result.source_intervals["large"] == {Task.PROMPT: (1.0, 1.0)}
    low, high = result.source_intervals["small"][Task.PROMPT]
    assert low < 2 / 3 < high  # ten hits, ten alarms
    assert result.modality_intervals["text"][Task.PROMPT] == result.mean_f1_interval


@pytest.mark.parametrize(("share", "recall", "alarms"), [(0.175, 0.90, 0.02), (0.5, 0.65, 0.25)])
def test_intervals_hold_a_known_truth_19_times_in_20(share, recall, alarms):
    # bench/bootstrap_coverage.py does this for 2,000 worlds of many kinds; 200 leave a standard error of 1.5 points.
    rng, held = np.random.default_rng(3), 0
    chances = [share * recall, (1 - share) * alarms, share * (1 - recall), (1 - share) * (1 - alarms)]
    truth = 2 * chances[0] / (2 * chances[0] + chances[1] + chances[2])
    for world in range(200):
        cells = rng.choice([Cell.TP, Cell.FP, Cell.FN, Cell.TN], size=446, p=chances)
        bootstrap = Bootstrap(cells[:, None], world)
        low, high = bootstrap.estimate(f1_of_draws(bootstrap.kinds[:, 0], bootstrap.draws)).interval
        held += low <= truth <= high
    assert 0.92 <= held / 200 <= 0.98


def test_an_interval_is_corrected_for_bias_and_skew_as_scipys_is():
    # Resampled variances are too small, and skewed: the plain interval lies 2 too low at one end and 7 at the other.
    rows = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 6, 7, 9, 14])
    bootstrap = Bootstrap(rows[:, None], 1, resamples=20_000)
    values, n = bootstrap.kinds[:, 0], bootstrap.draws.sum(axis=1)
    low, high = bootstrap.estimate(bootstrap.draws @ values**2 / n - (bootstrap.draws @ values / n) ** 2).interval
    expected = scipy_bootstrap((rows,), np.var, method="BCa", n_resamples=20_000, rng=2).confidence_interval
    assert (low, high) == (pytest.approx(expected.low, abs=0.4), pytest.approx(expected.high, abs=1.0))


def test_mcnemar_is_the_exact_binomial_of_the_flips():
    truths = [H] * 12 + [U] * 4
    before, after = [U] * 8 + [H] * 4 + [U] * 4, [H] * 7 + [U] + [H] * 3 + [U] + [U] * 4
    found = compare(judged(truths, after), judged(truths, before))[0]
    assert (found.task, found.mended, found.broken) == (Task.PROMPT, 7, 1)
    assert found.p == pytest.approx(2 * binom.cdf(1, 8, 0.5))  # 0.0703
    assert found.f1.value == pytest.approx(20 / 22 - 8 / 16)
    assert found.f1.interval[0] < found.f1.value < found.f1.interval[1]


def test_both_guards_are_resampled_together():
    # Both miss the same samples but one: the difference in F1, 2/3 - 18/29, is far surer than either score.
    truths = [H] * 20 + [U] * 20
    found = compare(judged(truths, [H] * 10 + [U] * 30), judged(truths, [H] * 9 + [U] * 31))[0]
    low, high = found.f1.interval
    # One flip is a Poisson count of 1, at most 5.57 with 97.5% confidence: 5.57 (2/3 - 18/29) = 0.26.
    assert -1e-9 <= low <= 2 / 3 - 18 / 29 <= high == pytest.approx(0.26, abs=0.04)


def test_two_equal_guards_do_not_differ():
    found = compare(judged([H, U], [H, H]), judged([H, U], [H, H]))[0]
    assert (found.mended, found.broken, found.p, tuple(found.f1)) == (0, 0, 1.0, (0.0, (0.0, 0.0)))


def test_mcnemar_under_drop_leaves_out_what_either_could_not_say():
    before, after = judged([H, H, H], [None, U, U]), judged([H, H, H], [H, H, None])
    assert (compare(after, before)[0].mended, compare(after, before)[0].broken) == (2, 0)
    dropped = compare(after, before, unparsable="drop")[0]
    assert (dropped.mended, dropped.broken) == (1, 0)


def test_other_samples_under_the_same_ids_are_not_compared():
    with pytest.raises(DataError, match="different samples"):
        compare(judged([H, U], [H, U]), judged([U, U], [U, U]))


def scored(pairs):
    samples = [make_sample(str(i), H if positive else U) for i, (positive, _) in enumerate(pairs)]
    answers = [Answer(str(i), 0, make_text(H), 5, 3, True, scores={"prompt": s}) for i, (_, s) in enumerate(pairs)]
    return judge(samples, answers, "guardreasoner_vl")


def test_calibration_of_a_case_counted_by_hand():
    found = calibration(scored([(1, 0.95), (1, 0.91), (0, 0.93), (0, 0.15), (1, 0.15), (0, 0.0)]), Task.PROMPT)
    # Bins: [0, .1) one of mean 0 and no positive; [.1, .2) two of mean .15, half positive; [.9, 1] three of .93, 2/3.
    assert [(b.n, round(b.score, 6), round(b.positive, 6)) for b in found.bins] == [
        (1, 0.0, 0.0),
        (2, 0.15, 0.5),
        (3, 0.93, 0.666667),
    ]
    assert found.ece == pytest.approx((0 + 2 * 0.35 + 3 * abs(2 / 3 - 0.93)) / 6)
    assert found.auprc == pytest.approx(average_precision_score([1, 1, 0, 0, 1, 0], [0.95, 0.91, 0.93, 0.15, 0.15, 0]))
    assert found.thresholds[-1] == (0.95, 1.0, pytest.approx(1 / 3))


@pytest.mark.parametrize(
    "pairs", [pytest.param([], id="no scores"), pytest.param([(1, 0.5), (1, 0.7)], id="one class alone")]
)
def test_calibration_needs_scores_of_both_classes(pairs):
    assert calibration(scored(pairs), Task.PROMPT) is None


def test_a_score_of_one_falls_into_the_last_bin():
    found = calibration(scored([(1, 1.0), (0, 0.0)]), Task.PROMPT)
    assert isinstance(found, Calibration)
    assert (found.ece, found.auprc, len(found.bins)) == (0.0, 1.0, 2)


def test_latency_is_measured_where_answers_were_timed():
    samples = [make_sample(str(i), U) for i in range(3)]
    answers = [Answer(str(i), 0, make_text(U), 5, 3, True, seconds=s) for i, s in enumerate((1.0, 2.0, None))]
    assert evaluate(samples, answers, dialect="guardreasoner_vl").latency == {"p50": 1.5, "p99": pytest.approx(1.99)}
    assert evaluate(samples[:1], [make_answer("0", make_text(U))], dialect="guardreasoner_vl").latency is None
