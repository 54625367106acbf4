"""A guard that nobody ships: one task of four ordered levels, a reason in free text, and a stop rule of its own.

<think>
...
</think>
Severity: high
Why: it asks for a forbidden thing
[done]
"""

import re

from gr_vl.dialects.lines import aligned, lines
from gr_vl.dialects.transcript import Family
from gr_vl.schema import FailureReason, Label, ParseFailure, Task, Verdict

SEVERITY = Task("severity", ("none", "low", "high", "extreme"), "high")
_BLOCK = re.compile(r"\s*Severity: (none|low|high|extreme)\nWhy: (\S[^\n]*)\n\[done\]\s*")


class Levels(Family):
    """The severity of the whole exchange, with or without a response."""

    tasks = (SEVERITY,)
    stop = ("[done]",)
    instruction = "Say how severe the exchange is, and why."

    def answer(self, labels, reasoning=""):
        """Reasoning, the level, and its reason: the last line of the reasoning."""
        why = reasoning.strip().rpartition("\n")[2] or "nothing was thought"
        return f"<think>\n{reasoning}\n</think>\nSeverity: {labels[SEVERITY]}\nWhy: {why}\n[done]"

    def places(self, text):
        """Where the level stands."""
        text = aligned(text)
        found = _BLOCK.search(text, text.rfind("</think>") + 1)
        return {} if found is None or isinstance(self.parse(text), ParseFailure) else {SEVERITY: found.span(1)}

    def in_blocks(self, text):
        """The think block, then the level."""
        return 0 <= text.find("</think>") < text.rfind("Severity:")

    def parse(self, text):
        """The level and its reason after the reasoning."""
        head, closed, rest = lines(text).rpartition("</think>")
        if not closed:
            why = FailureReason.UNCLOSED_REASONING if "<think>" in text else FailureReason.NO_RESULT
            return ParseFailure(why, text)
        reasoning, found = head.strip().removeprefix("<think>").strip(), _BLOCK.match(rest)
        if found is None:
            return ParseFailure(FailureReason.NO_RESULT, reasoning)
        labels, strict = {SEVERITY: Label(found[1])}, head.count("<think>") == 1 and found.end() == len(rest)
        return Verdict(labels, reasoning, strict, sectioned=bool(reasoning), fields={"why": found[2]})


DIALECT = Levels()
