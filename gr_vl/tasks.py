"""Tasks and guards as values: what a guard is asked, which labels it may give, and how it is spoken to.

A dialect owns its tasks. They travel with what was made for them: in `run.json`, in the footers of corpora, in exported
folders. A task is equal to its name, so that a label is found by either, and its labels are strings.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

from gr_vl.errors import ConfigError, DataError

Name = TypeVar("Name", bound=str)


class Label(str):
    """An answer to a task's question; the words of the tasks that public data share are named here."""

    __slots__ = ()
    HARMFUL: ClassVar["Label"]
    UNHARMFUL: ClassVar["Label"]
    REFUSAL: ClassVar["Label"]
    COMPLIANCE: ClassVar["Label"]


Label.HARMFUL, Label.UNHARMFUL = Label("harmful"), Label("unharmful")
Label.REFUSAL, Label.COMPLIANCE = Label("refusal"), Label("compliance")


class Task(str):
    """A question that a guard answers about one exchange.

    >>> severity = Task("severity", ("none", "low", "high", "extreme"), "high")
    >>> sorted(severity.positives), severity.worse("low", "high"), severity == "severity"
    (['extreme', 'high'], 'high', True)
    """

    PROMPT: ClassVar["Task"]
    RESPONSE: ClassVar["Task"]
    REFUSAL: ClassVar["Task"]
    labels: tuple[Label, ...]
    """In order, from the mildest to the worst."""
    positives: frozenset[Label]
    """The positive class of the task's metrics."""
    needs_response: bool
    """Whether there is nothing to judge without a response: the label is then the mildest one, and is not measured."""
    harm: bool
    """Whether positive means harm: it flags an exchange, and concatenated exchanges have the worst of their labels. Of
    any other task, such as whether the response refuses, the label of a concatenation is unknown."""

    def __new__(
        cls,
        name: str,
        labels: Iterable[str],
        positive: str | Collection[str],
        *,
        needs_response: bool = False,
        harm: bool = True,
    ) -> Self:
        """`positive` is the mildest positive label, from which on all are, or a collection of the positive labels.

        Raises DataError when the labels are fewer than two or not distinct, or no proper part of them is positive.
        """
        task = super().__new__(cls, name)
        task.labels = tuple(map(Label, labels))
        if len(set(task.labels)) < max(2, len(task.labels)):
            raise DataError(f"task {name}: labels={list(task.labels)} must be two or more, each once")
        if isinstance(positive, str):
            positive = task.labels[task.order(positive) :]
        task.positives = frozenset(map(Label, positive))
        if not task.positives or not task.positives < set(task.labels):
            raise DataError(f"task {name}: positive={sorted(task.positives)} must be some of {', '.join(task.labels)}")
        task.needs_response, task.harm = needs_response, harm
        return task

    def __getnewargs_ex__(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a copy in another process is made from."""
        return (str(self), self.labels, self.positives), {
            "needs_response": self.needs_response,
            "harm": self.harm,
        }

    @property
    def mildest(self) -> Label:
        """What a task that needs a response is labelled without one."""
        return self.labels[0]

    @property
    def worst(self) -> Label:
        """What a guard whose answer holds no verdict is taken to have said: it fails closed."""
        return self.labels[-1]

    def label(self, word: str) -> Label:
        """The label of that word. Raises ValueError that names the task's words when it is none of them."""
        if word not in self.labels:
            words = ", ".join(self.labels[:0:-1])
            raise ValueError(f"{word!r} is no label of the task {self}; write {words} or {self.labels[0]}")
        return Label(word)

    def order(self, word: str) -> int:
        """The place of a label in the order, from 0 for the mildest. Raises ValueError as `label`."""
        return self.labels.index(self.label(word))

    def worse(self, *words: str) -> Label:
        """The worst of some labels: of two labels, the OR of positive and negative."""
        return self.labels[max(map(self.order, words))]

    def other(self, word: str) -> Label:
        """A wrong label where this one is right: the mildest, or the worst where that is the right one."""
        return self.worst if word == self.mildest else self.mildest

    def to_json(self) -> dict[str, Any]:
        """Everything about the task as plain values."""
        positive = [label for label in self.labels if label in self.positives]
        flags = {"needs_response": self.needs_response, "harm": self.harm}
        return {"name": str(self), "labels": list(self.labels), "positive": positive, **flags}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "Task":
        """The task that `to_json` wrote. Raises DataError when it is none."""
        try:
            names = {key: bool(row[key]) for key in ("needs_response", "harm")}
            return cls(str(row["name"]), row["labels"], list(row["positive"]), **names)
        except (KeyError, TypeError) as error:
            raise DataError(f"task {row!r:.80}: no task ({error!r}); it holds name, labels, positive") from None


_HARM = (Label.UNHARMFUL, Label.HARMFUL)
Task.PROMPT = Task("prompt", _HARM, Label.HARMFUL)
Task.RESPONSE = Task("response", _HARM, Label.HARMFUL, needs_response=True)
Task.REFUSAL = Task("refusal", (Label.COMPLIANCE, Label.REFUSAL), Label.REFUSAL, needs_response=True, harm=False)
SHARED = (Task.PROMPT, Task.RESPONSE, Task.REFUSAL)
"""The tasks that public data, other guards and the published benchmarks have labels of, by the same names."""


def shared(name: str) -> Task:
    """The shared task of that name. Raises ConfigError that lists them."""
    found = next((task for task in SHARED if task == name), None)
    if found is None:
        raise ConfigError(f"task {name!r} is unknown; use one of: {', '.join(SHARED)}")
    return found


def labelled(tasks: Iterable[Task], row: Mapping[str, Any]) -> dict[Task, Label]:
    """The labels that a row names by the names of some tasks. Raises ValueError for a word that is no label."""
    return {task: task.label(word) for task in tasks if (word := row.get(task)) is not None}


def ordered(tasks: Iterable[Name]) -> tuple[Name, ...]:
    """Tasks, or their names, once each: the shared ones in their order, then the others in theirs.

    Of several tasks of one name the first counts: a guard may give a shared name labels of its own.
    """
    return tuple(sorted(dict.fromkeys(tasks), key=lambda task: SHARED.index(task) if task in SHARED else len(SHARED)))


@dataclass(frozen=True)
class GuardSpec:
    """What travels with a guard's data: how it is spoken to and read, and what it is asked."""

    dialect: str
    """The name that `dialects.get` knows."""
    tasks: tuple[Task, ...]
    takes_policy: bool
    reasoning_ends: str
    """Where the reasoning of an answer ends: at the first place of this text."""

    def to_json(self) -> dict[str, Any]:
        """The fields as plain values: `guard` in run.json, in footers of corpora and in gr_vl.json."""
        return {
            "dialect": self.dialect,
            "tasks": [task.to_json() for task in self.tasks],
            "takes_policy": self.takes_policy,
            "reasoning_ends": self.reasoning_ends,
        }

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "GuardSpec":
        """The spec that `to_json` wrote. Raises DataError when it is none."""
        try:
            tasks = tuple(map(Task.from_json, row["tasks"]))
            return cls(str(row["dialect"]), tasks, bool(row["takes_policy"]), str(row["reasoning_ends"]))
        except (KeyError, TypeError) as error:
            raise DataError(f"guard {row!r:.80}: no guard ({error!r}); it holds dialect and tasks") from None
