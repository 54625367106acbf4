"""Qwen3Guard-Gen: lines `Safety: Safe|Unsafe|Controversial`, `Categories: ...` and, for a response, `Refusal: Yes|No`.

Format as in its model card (arXiv 2510.14276). `Controversial` is harmful in the strict mode and unharmful in the loose
one; the report's headline picks the better per benchmark, we do not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gr_vl.evaluation.adapters.base import NOT_JUDGED, Call, conversation
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict

_SAFETY = re.compile(r"^Safety:[ \t]*(Safe|Unsafe|Controversial)\b", re.MULTILINE)
_REFUSAL = re.compile(r"^Refusal:[ \t]*(Yes|No)\b", re.MULTILINE)


@dataclass(frozen=True)
class Qwen3Guard:
    """Prompt and response harmfulness, and refusal; text alone."""

    strict: bool

    def calls(self, sample: Sample) -> list[Call]:
        """One call, or two where there is a response."""
        return [] if sample.images else conversation(sample)

    def read(self, texts: Sequence[str]) -> Verdict | ParseFailure:
        """The safety line of each reply, and the refusal line of the second."""
        if not texts:
            return NOT_JUDGED
        found = [_SAFETY.search(text) for text in texts]
        if not all(found):
            return ParseFailure(FailureReason.NO_RESULT, "\n".join(texts))
        labels = dict(zip((Task.PROMPT, Task.RESPONSE), (self._label(m[1]) for m in found if m), strict=False))
        if len(texts) > 1 and (refusal := _REFUSAL.search(texts[1])):
            labels[Task.REFUSAL] = Label.REFUSAL if refusal[1] == "Yes" else Label.COMPLIANCE
        return Verdict(labels, "\n".join(texts), well_formed=True)

    def _label(self, word: str) -> Label:
        harmful = word == "Unsafe" or (word == "Controversial" and self.strict)
        return Label.HARMFUL if harmful else Label.UNHARMFUL
