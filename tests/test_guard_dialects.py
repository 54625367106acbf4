"""One guard, any dialect: its questions one by one, each task's own positive label, a policy where one is taken."""

import json

import pytest
from factories import facts_of

from gr_vl import dialects, specs
from gr_vl.errors import DataError
from gr_vl.guard.moderation import Exchange, Written, joined, judged, questions
from gr_vl.schema import FailureReason, Label, Sample, Task
from gr_vl.tasks import SHARED

POLICY = "U1: talk of zorbals\nU2: talk of signs"
BOX = "<think>\n{}\n</think>\n\\boxed{{{}}}"


def said(dialect, exchange, *texts):
    """The judgement of an exchange whose answers are these."""
    asked = questions(dialect, exchange)
    scores = dict.fromkeys(SHARED, 0.25)
    written = [Written(text, True, 10, index, index / 2) for index, text in enumerate(texts, start=1)]
    return joined([judged(dialect, one, two, scores) for one, two in zip(asked, written, strict=True)])


def test_each_answer_settles_the_task_that_was_asked_and_no_other():
    found = said(dialects.get("rsafe"), Exchange("a", response="b"), BOX.format("x", "safe"), BOX.format("y", "unsafe"))
    assert found.labels == {Task.PROMPT: Label.UNHARMFUL, Task.RESPONSE: Label.HARMFUL}
    assert (found.flagged, found.failure, found.reasoning) == (True, None, "x\n\ny")
    assert found.written == Written(f"{BOX.format('x', 'safe')}\n\n{BOX.format('y', 'unsafe')}", True, 20, 3, 1.0)


@pytest.mark.parametrize("broken", [0, 1])
def test_one_answer_without_a_verdict_makes_its_own_task_harmful(broken):
    texts = [BOX.format("x", "safe")] * 2
    texts[broken] = "<think>\nno end"
    found = said(dialects.get("rsafe"), Exchange("a", response="b"), *texts)
    asked, other = (Task.PROMPT, Task.RESPONSE)[:: 1 - 2 * broken]
    assert found.labels == {asked: Label.HARMFUL, other: Label.UNHARMFUL}
    assert found.scores == {asked: 1.0, other: 0.25}
    assert (found.flagged, found.failure) == (True, FailureReason.UNCLOSED_REASONING)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param(
            "guardreasoner_vl",
            "<think>\nx\n</think>\n<result>\nAnswers:\nRequest: unharmful\nResponse: {}\n</result>",
            id="two tasks",
        ),
        pytest.param(
            "guardreasoner", "x\n\nAnswers:\nRequest: unharmful\nCompletion: compliance\nResponse: {}", id="three tasks"
        ),
    ],
)
def test_none_of_a_response_that_is_there_is_no_label_of_it(name, text):
    dialect, asked = dialects.get(name), Exchange("a", response="b")
    found = said(dialect, asked, text.format("None"))
    assert (found.flagged, found.failure, found.reasoning) == (True, FailureReason.MISSING_LABEL, "x")
    assert found.labels == {task: task.worst for task in dialect.tasks}
    assert set(found.scores.values()) == {1.0}
    assert said(dialect, asked, text.format("unharmful")).failure is None
    without = said(dialect, Exchange("a"), text.format("None"))
    assert (without.labels, without.failure) == ({Task.PROMPT: Label.UNHARMFUL}, None)


def test_a_readable_answer_with_a_score_that_is_no_number_is_harmful():
    dialect = dialects.get("rsafe")
    [question] = questions(dialect, Exchange("a"))
    written = Written(BOX.format("x", "safe"), True, 10, 1, 0.5)
    found = judged(dialect, question, written, {Task.PROMPT: float("nan")})
    assert (found.flagged, found.failure) == (True, FailureReason.MISSING_LABEL)
    assert (found.labels, found.scores) == ({Task.PROMPT: Label.HARMFUL}, {Task.PROMPT: 1.0})


def test_without_a_response_one_question_is_asked():
    assert [one.tasks for one in questions(dialects.get("rsafe"), Exchange("a"))] == [(Task.PROMPT,)]
    [question] = questions(dialects.get("guardreasoner"), Exchange("a"))
    assert (len(question.stated), question.tasks) == (3, (Task.PROMPT,))


def test_an_unreadable_answer_of_three_tasks_has_the_positive_label_of_each():
    found = said(dialects.get("guardreasoner"), Exchange("a", response="b"), "nothing")
    assert found.labels == {
        Task.PROMPT: Label.HARMFUL,
        Task.REFUSAL: Label.REFUSAL,
        Task.RESPONSE: Label.HARMFUL,
    }
    assert set(found.scores.values()) == {1.0}


@pytest.mark.parametrize("name", ["guardreasoner", "guardreasoner_vl"])
def test_a_policy_is_refused_where_it_would_be_ignored(name):
    with pytest.raises(DataError, match="policy: this guard judges by its own rules"):
        questions(dialects.get(name), Exchange("a", policy=POLICY))


def test_a_policy_without_rules_is_refused():
    with pytest.raises(DataError, match="policy: is blank"):
        Exchange("a", policy=" \n")


@pytest.mark.parametrize("name", ["guardreasoner", "guardreasoner_vl", "rsafe"])
@pytest.mark.parametrize(
    "path",
    [
        pytest.param("rl/model", id="a model of a run"),
        pytest.param("dpo/checkpoints/global_step_3/huggingface", id="a checkpoint"),
        pytest.param("rl/checkpoints/global_step_3/actor/huggingface", id="a checkpoint of RL"),
    ],
)
def test_a_run_says_the_dialect_of_its_models(tmp_path, name, path):
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / "run.json").write_text(json.dumps(facts_of(name)))
    assert specs.find(tmp_path / path) == name


def test_a_folder_says_more_than_the_run_around_it(tmp_path):
    folder = tmp_path / "rl" / "model"
    folder.mkdir(parents=True)
    (tmp_path / "run.json").write_text(json.dumps(facts_of("rsafe")))
    (folder / specs.EXPORTED).write_text(json.dumps(facts_of("guardreasoner")))
    assert specs.find(folder) == "guardreasoner"


@pytest.fixture(scope="module")
def guards(tiny):
    pytest.importorskip("torch")
    from gr_vl.guard.model import Guard

    return {
        name: Guard.from_pretrained(tiny, device="cpu", max_tokens=8, dialect=name)
        for name in ("guardreasoner", "rsafe")
    }


def share(guard, sample, before, positive, opposite):
    """The share of the first of two words, by plain forward passes."""
    from test_guard import log_prob

    first, second = (log_prob(guard, sample, before, word) for word in (positive, opposite))
    return 1 / (1 + 2.718281828459045 ** (second - first))


@pytest.mark.parametrize("policy", [None, POLICY], ids=["its own rules", "the caller's rules"])
def test_prompt_and_response_are_scored_in_conversations_of_their_own(guards, policy):
    guard = guards["rsafe"]
    found = guard.moderate("What is it?", response="A sign.", think=False, policy=policy)
    for task, response in ((Task.PROMPT, None), (Task.RESPONSE, "A sign.")):
        sample = Sample("", "", "What is it?", response, policy=policy)
        # The brace may be one token with the word after it.
        expected = share(guard, sample, "<think>\n\n</think>\n\\boxed", "{unsafe", "{safe")
        assert found.scores[task] == pytest.approx(expected, abs=1e-5)
        assert found.labels[task] is (Label.HARMFUL if expected >= 0.5 else Label.UNHARMFUL)


def test_a_policy_changes_what_is_judged(guards):
    by_default, by_policy = (guards["rsafe"].moderate("a", think=False, policy=policy) for policy in (None, POLICY))
    assert by_default.scores != by_policy.scores
    assert by_default.written.prompt_tokens != by_policy.written.prompt_tokens


def test_refusal_is_scored_by_its_own_words(guards):
    guard = guards["guardreasoner"]
    found = guard.moderate("What is it?", response="A sign.", think=False)
    before = f"\n\n---\n\nAnswers:\nRequest: {found.labels[Task.PROMPT]}\nCompletion:"
    sample = Sample("", "", "What is it?", "A sign.")
    expected = share(guard, sample, before, " refusal", " compliance")
    assert found.scores[Task.REFUSAL] == pytest.approx(expected, abs=1e-5)
    assert found.labels[Task.REFUSAL] == (Label.REFUSAL if expected >= 0.5 else Label.COMPLIANCE)


def test_thinking_guards_of_both_dialects_fail_closed(guards):
    for guard in guards.values():
        found = guard.moderate("What is it?", response="A sign.")
        assert found.flagged
        assert found.failure is not None
        assert found.labels == {task: task.worst for task in guard.encoder.dialect.tasks}


def test_in_company_the_judgement_is_the_same(guards):
    guard = guards["rsafe"]
    exchanges = [Exchange("a", think=False), Exchange("a", response="b", think=False), Exchange("c", policy=POLICY)]
    together = guard.moderate_many(exchanges)
    for exchange, found in zip(exchanges, together, strict=True):
        [alone] = guard.moderate_many([exchange])
        assert alone.labels == found.labels
        assert alone.scores == pytest.approx(found.scores, abs=1e-5)
