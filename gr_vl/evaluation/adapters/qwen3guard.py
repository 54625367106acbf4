"""Qwen3Guard-Gen: lines `Safety: Safe|Unsafe|Controversial`, `Categories: ...` and, for a response, `Refusal: Yes|No`.

Format as in its model card (arXiv 2510.14276). `Controversial` is harmful in the strict mode and unharmful in the loose
one; the report's headline picks the better per benchmark, we do not.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from gr_vl.evaluation.adapters.base import Call, conversation, verdicts
from gr_vl.schema import FailureReason, Label, ParseFailure, Sample, Task, Verdict

_FLAGS = re.ASCII | re.IGNORECASE | re.MULTILINE
_SAFETY = re.compile(r"^[ \t]*safety[ \t]*:[ \t]*(safe|unsafe|controversial)[ \t]*$", _FLAGS)
_REFUSAL = re.compile(r"^[ \t]*refusal[ \t]*:[ \t]*(yes|no)[ \t]*$", _FLAGS)


@dataclass(frozen=True)
class Qwen3Guard:
    """Prompt and response harmfulness, and refusal; text alone."""

    strict: bool

    def calls(self, sample: Sample) -> list[Call]:
        """One call, or two where there is a response."""
        return [] if sample.images else conversation(sample)

    def read(self, texts: Sequence[str]) -> Verdict | ParseFailure:
        """The safety line of each reply, and the refusal line of the second."""
        said = verdicts(texts)
        if isinstance(said, ParseFailure):
            return said
        found = [{word.lower() for word in _SAFETY.findall(text)} for text in said]
        if not all(found):
            return ParseFailure(FailureReason.NO_RESULT, "\n".join(texts))
        refusal = {word.lower() for word in _REFUSAL.findall(said[1])} if len(said) > 1 else set()
        if any(len(words) > 1 for words in (*found, refusal)):
            return ParseFailure(FailureReason.CONFLICTING_LABELS, "\n".join(texts))
        labels = dict(zip((Task.PROMPT, Task.RESPONSE), (self._label(*words) for words in found), strict=False))
        if refusal:
            labels[Task.REFUSAL] = Label.REFUSAL if refusal == {"yes"} else Label.COMPLIANCE
        return Verdict(labels, "\n".join(texts), well_formed=True)

    def _label(self, word: str) -> Label:
        harmful = word == "unsafe" or (word == "controversial" and self.strict)
        return Label.HARMFUL if harmful else Label.UNHARMFUL
