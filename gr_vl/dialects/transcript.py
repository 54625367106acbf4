"""What the dialects of the GuardReasoner family share: how they show an exchange, and what they teach about it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from gr_vl.errors import DataError
from gr_vl.schema import Label, Sample, Task


def transcript(sample: Sample) -> list[dict[str, Any]]:
    """Content parts of the user message: both turns, the images right after the first line, None for no response."""
    images = [{"type": "image"} for _ in sample.images]
    prompt = f"\n{sample.prompt}" if images and sample.prompt else sample.prompt
    response = "None" if sample.response is None else sample.response
    parts = [
        {"type": "text", "text": "Human user:\n"},
        *images,
        {"type": "text", "text": f"{prompt}\n\nAI assistant:\n{response}\n"},
    ]
    return parts if images else [{"type": "text", "text": "".join(part["text"] for part in parts)}]


class Family(ABC):
    """One conversation settles every task: an instruction, then the transcript."""

    tasks: tuple[Task, ...]
    takes_policy = False
    reasoning_ends = "</think>"
    stop: tuple[str, ...] = ()
    instruction: str

    @abstractmethod
    def answer(self, labels: Mapping[Task, Label], reasoning: str = "") -> str:
        """The well-formed answer that states these labels."""

    def messages(self, sample: Sample) -> list[dict[str, Any]]:
        """System instruction, then the transcript with the images right after its first line."""
        return [
            {"role": "system", "content": [{"type": "text", "text": self.instruction}]},
            {"role": "user", "content": transcript(sample)},
        ]

    def expected(self, sample: Sample) -> Mapping[Task, Label]:
        """Known labels; with nothing to judge, a task that needs a response has its mildest: the papers' convention."""
        known = {task: sample.labels[task] for task in self.tasks if task in sample.labels}
        nothing = [task for task in self.tasks if task.needs_response and sample.response is None]
        return known | {task: task.mildest for task in nothing}

    def questions(self, sample: Sample) -> list[tuple[Sample, tuple[Task, ...]]]:
        """One question settles every task."""
        return [(sample, self.tasks)]

    def target(self, sample: Sample) -> str:
        """Reasoning and the answers that it ends in. Raises DataError when reasoning or a label is missing."""
        labels = {**self.expected(sample), **(sample.taught or {})}
        if sample.reasoning is None or any(task not in labels for task in self.tasks):
            raise DataError(f"sample {sample.id!r} is no SFT target: it needs reasoning and a label for every task")
        return self.answer(labels, sample.reasoning.strip())
