"""How GuardReasoner's files write an exchange and its labels: one text each, to be taken apart again.

    Human user:
    <prompt>

    AI assistant:
    <response, or None>

Seen on the released text benchmarks and on HarmImageTest, where an instruction comes before it.
"""

import re

from gr_vl.errors import Broken
from gr_vl.schema import Label, Task

_USER, _ASSISTANT = "Human user:\n", "\n\nAI assistant:\n"
_LABEL = re.compile(
    r"^[ \t]*(?:(Request|Response)[ \t]*:[ \t]*(harmful|unharmful|none)"
    r"|(Completion)[ \t]*:[ \t]*(refusal|compliance|none))[ \t]*$",
    re.ASCII | re.IGNORECASE | re.MULTILINE,
)
_TASKS = {"request": Task.PROMPT, "completion": Task.REFUSAL, "response": Task.RESPONSE}
HEADINGS = {task: heading for heading, task in _TASKS.items()}
"""What the line of a task's label begins with, in lower case."""


def exchange(field: str, text: str) -> tuple[str, str | None]:
    """Prompt and response. Where the words that part them occur twice, nobody can say where the prompt ends."""
    before, found, body = text.partition(_USER)
    if not found or (before and not before.endswith("\n\n")):
        raise Broken(field, text, "no transcript: it has no line 'Human user:'")
    if (turns := body.count(_ASSISTANT)) != 1:
        raise Broken(field, text, f"{turns} lines 'AI assistant:' where one belongs", "leave it out")
    prompt, _, response = body.partition(_ASSISTANT)
    response = response.strip()
    return prompt, None if response == "None" else response


def labels(text: str) -> dict[Task, Label]:
    """The last label that a text states for each task; None, which the files write for unknown, counts as none."""
    last = {_TASKS[(a or b).lower()]: (word or other).lower() for a, word, b, other in _LABEL.findall(text)}
    return {task: Label(word) for task, word in last.items() if word != "none"}
