"""The registry against the papers' own arithmetic: every printed average is recomputed from the printed cells."""

import pytest

from gr_vl.errors import ConfigError
from gr_vl.evaluation import benchmarks
from gr_vl.schema import Task

OWN = [f"GuardReasoner-VL{eco} {size}" for size in ("3B", "7B") for eco in ("-Eco", "")]
HIDDEN = {(Task.PROMPT, guard, average) for guard in OWN for average in ("text", "all")} | {
    (Task.RESPONSE, "GuardReasoner-VL-Eco 3B", "text"),
    (Task.RESPONSE, "GuardReasoner-VL 3B", "text"),
}
"""Averages that rounding alone cannot explain: the paper's own rows, whose samples without a label were dropped."""


def averages():
    for row in benchmarks.published():
        for name, printed in row.averages.items():
            if printed is not None:
                yield pytest.param(row, name, printed, id=f"{row.guard}, {row.task}, {name}, {row.paper.split(',')[0]}")


@pytest.mark.parametrize(("row", "name", "printed"), list(averages()))
def test_printed_averages_follow_from_the_printed_cells(row, name, printed):
    own = row.paper.startswith("GuardReasoner-VL") and (row.task, row.guard, name) in HIDDEN
    gap = abs(row.recomputed(name) - printed)
    assert (gap > row.room) is own
    assert gap < (0.05 if own else row.room)


@pytest.mark.parametrize(
    ("task", "average", "exact"),
    [
        pytest.param(Task.PROMPT, "all", 79.09, id="prompt: the paper prints 79.07"),
        pytest.param(Task.RESPONSE, "all", 77.59, id="response: the paper prints 77.58"),
    ],
)
def test_the_headline_of_the_7b_model(task, average, exact):
    row = next(r for r in benchmarks.published() if r.guard == "GuardReasoner-VL 7B" and r.task is task)
    assert row.recomputed(average) == pytest.approx(exact, abs=0.005)


def test_the_gain_of_the_abstract_is_the_mean_of_two_gaps():
    rows = {(r.guard, r.task): r.averages.get("all") for r in benchmarks.published() if "VL" in r.paper}
    gaps = [rows["GuardReasoner-VL 7B", t] - rows["Qwen2.5-VL-7B-Instruct", t] for t in (Task.PROMPT, Task.RESPONSE)]
    assert sum(gaps) / 2 == pytest.approx(19.27, abs=0.005)


@pytest.mark.parametrize("guard", benchmarks.three_tasks())
def test_the_mean_over_three_tasks_follows_from_the_three_averages(guard):
    def average(task):
        rows = {r.paper: r.averages for r in benchmarks.published() if r.guard == guard and r.task is task}
        own = [averages for paper, averages in rows.items() if not paper.startswith("GuardReasoner-VL")]
        return own[0]["all"] if own else next(iter(rows.values()))["text"]

    mean = sum(map(average, (Task.PROMPT, Task.RESPONSE, Task.REFUSAL))) / 3
    assert mean == pytest.approx(benchmarks.three_tasks()[guard], abs=0.0101)


def test_the_fourteen_benchmarks_of_guardreasoner_vl_and_what_was_added():
    listed = [(b.name, b.task) for b in benchmarks.registry()]
    assert len(listed) == len(set(listed))
    published = {(name, row.task) for row in benchmarks.published() for name in row.f1}
    vl = {(name, row.task) for row in benchmarks.published() if "VL" in row.paper for name in row.f1}
    assert (len(vl), len([item for item in vl if item[1] is Task.PROMPT])) == (14, 8)
    assert published <= set(listed)
    assert {name for name, _ in set(listed) - published} == {
        "XSTest",
        "OR-Bench-80K",
        "OR-Bench-Hard-1K",
        "OR-Bench-Toxic",
    }


@pytest.mark.parametrize("benchmark", benchmarks.registry(), ids=lambda b: f"{b.name} {b.task}")
def test_classes_fill_the_released_files(benchmark):
    if benchmark.positive is not None and benchmark.negative is not None:
        released = 449 if benchmark.name == "XSTestResponseRefusal" else benchmark.n  # the paper says 499
        assert benchmark.positive + benchmark.negative == released


def test_a_benchmark_is_found_by_its_letters_and_digits():
    assert benchmarks.find("toxic_chat").n == 2853
    assert benchmarks.find("spa-vl eval", Task.RESPONSE).n == 3282
    assert benchmarks.match("wildguardtest", Task.REFUSAL).n == 1777
    assert benchmarks.match("demo", Task.PROMPT) is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        pytest.param("WildGuardTest", "has 3 tasks; say which", id="a name of several tasks"),
        pytest.param("GLUE", "unknown; use one of: ToxicChat", id="an unknown name"),
    ],
)
def test_what_cannot_be_found_is_said(name, words):
    with pytest.raises(ConfigError, match=words):
        benchmarks.find(name)


def test_published_scores_of_a_benchmark_by_guard():
    scores = benchmarks.others(benchmarks.find("ToxicChat"))
    assert scores["GPT-4o"] == (64.46, "GuardReasoner, arXiv 2501.18492 v2")
    assert "Aegis Guard 2.0 8B" not in scores  # the paper has a dash
