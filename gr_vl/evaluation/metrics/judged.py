"""A sample, the answer to it and what the answer says: what every metric is computed from."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gr_vl import dialects
from gr_vl.errors import DataError
from gr_vl.schema import Answer, FailureReason, Label, ParseFailure, Sample, Task, Verdict
from gr_vl.tasks import ordered

Parser = Callable[[str], Verdict | ParseFailure]


@dataclass(frozen=True)
class Judged:
    """One sample, the answer to it, and what the answer says."""

    sample: Sample
    answer: Answer
    outcome: Verdict | ParseFailure

    @property
    def truth(self) -> dict[Task, Label]:
        """The labels that are measured: those that are known, and of the response only if there is one."""
        answered = self.sample.response is not None
        return {task: label for task, label in self.sample.labels.items() if answered or not task.needs_response}

    @property
    def said(self) -> dict[Task, Label]:
        """The labels that the answer states."""
        return {} if isinstance(self.outcome, ParseFailure) else dict(self.outcome.labels)

    @property
    def failed(self) -> bool:
        """Whether the answer holds no verdict."""
        return isinstance(self.outcome, ParseFailure)

    def failure(self, tasks: Iterable[Task]) -> FailureReason | None:
        """Why the answer leaves one of these tasks, if it is measured, without a verdict; None when it leaves none."""
        if isinstance(self.outcome, ParseFailure):
            return self.outcome.reason
        left = set(tasks) & self.truth.keys() - self.said.keys()
        return FailureReason.MISSING_LABEL if left else None

    @property
    def right(self) -> bool:
        """Whether every measured label is stated correctly."""
        said = self.said
        return all(said.get(task) == label for task, label in self.truth.items())

    @property
    def well_formed(self) -> bool:
        """Whether the answer follows the grammar and was closed by an end token, as the reward's gate demands."""
        return isinstance(self.outcome, Verdict) and self.outcome.well_formed and self.answer.finished


def judge(samples: Iterable[Sample], answers: Iterable[Answer], dialect: str | Parser) -> list[Judged]:
    """Pair each sample with its first answer; other answers are ignored.

    An answer that was read before says what it said then; any other is parsed, by a dialect's name or a parser. Raises
    DataError when samples have no answer.
    """
    parse = dialects.get(dialect).parse if isinstance(dialect, str) else dialect
    by_id = {answer.id: answer for answer in answers if answer.index == 0}
    samples = list(samples)
    missing = [sample.id for sample in samples if sample.id not in by_id]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(samples)} samples have no answer, the first is {missing[0]!r}; finish `gr-vl eval`"
        )
    return [Judged(sample, by_id[sample.id], by_id[sample.id].read(parse)) for sample in samples]


def tasks_of(judged: Iterable[Judged]) -> tuple[Task, ...]:
    """The tasks that samples have a label to measure of; without those that no verdict ever states, since a guard that
    was never asked has no score."""
    judged = list(judged)
    stated = {task for item in judged for task in item.said}
    return ordered(task for item in judged for task in item.truth if task in stated or not stated)
