"""Llama Guard 3, Llama Guard 3 Vision and Llama Guard 4: `safe`, or `unsafe` and a line of categories such as `S1,S9`.

Format as in Meta's model cards. The last turn is what is judged, so request and response are two calls; prompt and
hazard categories come from the checkpoint's chat template.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gr_vl.evaluation.adapters.base import NOT_JUDGED, Call, conversation
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict

_WORDS = {"safe": Label.UNHARMFUL, "unsafe": Label.HARMFUL}


@dataclass(frozen=True)
class LlamaGuard:
    """Prompt and response harmfulness."""

    sees: bool
    """Whether the model reads images."""

    def calls(self, sample: Sample) -> list[Call]:
        """One call, or two where there is a response."""
        return conversation(sample) if self.sees or not sample.images else []

    def read(self, texts: Sequence[str]) -> Verdict | ParseFailure:
        """The first line of each reply."""
        if not texts:
            return NOT_JUDGED
        first = [(text.strip().splitlines() or [""])[0].strip().lower() for text in texts]
        if any(word not in _WORDS for word in first):
            return ParseFailure(FailureReason.NO_RESULT, "\n".join(texts))
        labels = dict(zip((Task.PROMPT, Task.RESPONSE), (_WORDS[word] for word in first), strict=False))
        return Verdict(labels, "\n".join(texts), well_formed=True)
