"""Llama Guard 3, Llama Guard 3 Vision and Llama Guard 4: `safe`, or `unsafe` and a line of categories such as `S1,S9`.

Format as in Meta's model cards. The last turn is what is judged, so request and response are two calls; prompt and
hazard categories come from the checkpoint's chat template.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gr_vl.evaluation.adapters.base import Call, conversation, verdicts
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict

_FIRST = re.compile(r"\s*(?:(safe)|(unsafe)(?:[ \t:,]+[sS]\d+)*)[ \t]*(?:\n|\Z)", re.ASCII | re.IGNORECASE)
"""The first line; some put the categories there."""


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
        said = verdicts(texts)
        if isinstance(said, ParseFailure):
            return said
        first = [found for text in said if (found := _FIRST.match(text))]
        if len(first) < len(said):
            return ParseFailure(FailureReason.NO_RESULT, "\n".join(texts))
        words = [Label.UNHARMFUL if line[1] else Label.HARMFUL for line in first]
        labels = dict(zip((Task.PROMPT, Task.RESPONSE), words, strict=False))
        return Verdict(labels, "\n".join(texts), well_formed=True)
