"""How sure a guard is that a label is positive: the labels' token sequences against each other, at the same place.

    score = p(positive labels) / p(all labels)

The words may start with different tokens and span several (`un`, `harm`, `ful`), so p is that of the whole sequence.
What follows a label, a line break say, is not part of it.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from gr_vl.decoding import Continuation
from gr_vl.dialects import Dialect
from gr_vl.schema import Label, Task


@dataclass(frozen=True, eq=False)
class Place:
    """Where a label stands, in tokens: what comes before it, and each of the labels that may stand there."""

    task: Task
    before: tuple[Label, ...]
    """The labels stated before this one, in their order."""
    context: Sequence[int]
    choices: Mapping[Label, Sequence[int]]
    """Every label of the task, the worst first."""

    def likeliest(self, log_probs: Sequence[float]) -> Label:
        """The likeliest label by the log-probabilities of `choices`; of equals, or if one is no number, the worst."""
        if any(map(math.isnan, log_probs)):
            return next(iter(self.choices))
        return list(self.choices)[log_probs.index(max(log_probs))]

    def score(self, log_probs: Sequence[float]) -> float:
        """The share of the positive labels, in [0, 1]; not a number where the model computed none."""
        sides: tuple[list[float], list[float]] = [], []
        for label, value in zip(self.choices, log_probs, strict=True):
            sides[label not in self.task.positives].append(value)
        return normalised(*sides)

    def continuations(self, prompt: int) -> list[Continuation]:
        """What to ask a model for, in the order of `choices`."""
        return [Continuation(prompt, self.context, tokens) for tokens in self.choices.values()]


def normalised(positive: Sequence[float], negative: Sequence[float]) -> float:
    """The share of the first log-probabilities in all, in [0, 1]; not a number where the model computed none.

    >>> round(normalised([math.log(0.2), math.log(0.1)], [math.log(0.1)]), 6)
    0.75
    """
    return 1 / (1 + math.exp(min(_together(negative) - _together(positive), 700.0)))


def _together(log_probs: Sequence[float]) -> float:
    """The log of the sum of probabilities; of one, itself to the bit."""
    if len(log_probs) == 1 or math.isinf(most := max(log_probs)):
        return max(log_probs)
    return most + math.log(sum(math.exp(value - most) for value in log_probs))


def walk(places: Sequence[Place], listed: Sequence[Sequence[float]]) -> dict[Place, Sequence[float]]:
    """The places on the way that follows the likeliest label from each to the next, with their log-probabilities."""
    by_way = {(place.task, place.before): (place, found) for place, found in zip(places, listed, strict=True)}
    way: dict[Place, Sequence[float]] = {}
    before: tuple[Label, ...] = ()
    for task in dict.fromkeys(place.task for place in sorted(places, key=lambda place: len(place.before))):
        place, found = by_way[task, before]
        way[place] = found
        before += (place.likeliest(found),)
    return way


class Places:
    """Finds the labels' places in answers that state `tasks`: in those that were written and those that need not be."""

    def __init__(self, tokenizer: Any, dialect: Dialect, tasks: tuple[Task, ...]) -> None:
        self._tokenizer, self._dialect, self._tasks = tokenizer, dialect, tasks
        self._words = {task: self._words_of(task) for task in tasks}
        self.unreasoned = tuple(self._without_reasoning())
        """Every place of an answer without reasoning: one for each task and each choice of the labels before it."""

    def of(self, ids: Sequence[int], text: str) -> Iterator[Place]:
        """The places of an answer: `ids` as generated, and the text that they decode to."""
        for task, (start, _) in self._spans(text).items():
            yield self._place(task, (), ids, text, start)

    def _place(self, task: Task, before: tuple[Label, ...], ids: Sequence[int], text: str, start: int) -> Place:
        low, high = 0, len(ids)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(self._decode(ids[:middle])) <= start else (low, middle - 1)
        # A word's first token often holds the space before it.
        gap = text[len(self._decode(ids[:low])) : start]
        choices = {label: self._encode(gap + word) for label, word in self._words[task].items()}
        return Place(task, before, ids[:low], choices)

    def _without_reasoning(self) -> Iterator[Place]:
        tasks, seen = self._tasks, set()
        for labels in product(*(task.labels[::-1] for task in tasks)):
            text = self._dialect.answer(dict(zip(tasks, labels, strict=True)))
            spans = sorted(self._spans(text).items(), key=lambda item: item[1])
            for index, (task, (start, _)) in enumerate(spans):
                before = tuple(dict(zip(tasks, labels, strict=True))[earlier] for earlier, _ in spans[:index])
                if (task, before) not in seen:
                    seen.add((task, before))
                    yield self._place(task, before, self._encode(text), text, start)

    def _words_of(self, task: Task) -> dict[Label, str]:
        words = {}
        for label in reversed(task.labels):
            text = self._dialect.answer({other: other.worst for other in self._tasks} | {task: label})
            words[label] = text[slice(*self._spans(text)[task])]
        return words

    def _spans(self, text: str) -> dict[Task, tuple[int, int]]:
        # An answer may hold a label for tasks that were not asked about.
        return {task: span for task, span in self._dialect.places(text).items() if task in self._tasks}

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self._tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids

    def _decode(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text


class PlacesByTasks(dict[tuple[Task, ...], Places]):
    """The `Places` of each kind of question, made when it is first asked."""

    def __init__(self, tokenizer: Any, dialect: Dialect) -> None:
        super().__init__()
        self._tokenizer, self._dialect = tokenizer, dialect

    def __missing__(self, tasks: tuple[Task, ...]) -> Places:
        return self.setdefault(tasks, Places(self._tokenizer, self._dialect, tasks))
