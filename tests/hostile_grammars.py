"""What `hostile` holds for GuardReasoner-VL, for the other grammars: answers that mean ill, by dialect and kind.

Neutral placeholders only. Every good answer says harmful of what it is asked first.
"""

import hostile
from hostile import MEGABYTE

from gr_vl.schema import Label, Task

BLOCK = "Answers:\nRequest: harmful\nCompletion: refusal\nResponse: unharmful"
SECTIONS = f"# Task 1\na\n\n---\n\n{BLOCK}"
BOX = "\\boxed{unsafe}"
BOXED = f"<think>\na\n</think>\n{BOX}"
FLOODS = {f"a megabyte of {char!r}": char * MEGABYTE for char in "a<>\n \0:R#\\{}\u200b"}

GUARDREASONER_NO_VERDICT = {
    "nothing": "",
    "white space": " \n\t\u00a0",
    "labels without a header": SECTIONS.replace("Answers:", ""),
    "labels in the reasoning alone": SECTIONS.removesuffix(BLOCK) + "Request: harmful\nCompletion: refusal",
    "a header in a sentence": SECTIONS.replace("Answers:", "My Answers: these"),
    "labels above the header alone": f"{BLOCK.removeprefix('Answers:')}\nAnswers:\n",
    "a NUL in a label": SECTIONS.replace(": harmful", ": harm\0ful"),
    "all labels listed": SECTIONS.replace(": harmful", ": harmful, unharmful"),
    "all labels listed line by line": SECTIONS.replace("Completion", "Request: unharmful\nCompletion"),
    "both refusal and compliance": f"{SECTIONS}\nCompletion: compliance",
    "a word of another task": SECTIONS.replace("refusal", "harmful"),
    "two labels in one line": SECTIONS.replace("\nCompletion", " Completion"),
    "one label missing": SECTIONS.replace("Completion: refusal\n", ""),
    "None for the request": SECTIONS.replace(": harmful", ": None"),
    "another script": SECTIONS.replace("Request", "Запрос"),
    "Cyrillic letters in a label": SECTIONS.replace(": harmful", ": hаrmful"),
    "full-width letters": SECTIONS.replace(": harmful", ": ｈａｒｍｆｕｌ"),
    "a full-width colon": SECTIONS.replace("Request:", "Request："),
    "a zero-width space in a label": SECTIONS.replace(": harmful", ": harm\u200bful"),
    "a long s": SECTIONS.replace("Response", "Reſponſe"),
    "a lone surrogate": SECTIONS.replace(": harmful", ": \ud800"),
    "a megabyte of spaces in a label's line": SECTIONS.replace("Request:", "Request" + " " * MEGABYTE + "x"),
    "a wall of headers": "Answers:\n" * (MEGABYTE // 8),
    **FLOODS,
}
GUARDREASONER_NOT_WELL_FORMED = {
    "no reasoning": BLOCK,
    "a rule and no reasoning": f"---\n{BLOCK}",
    "the block twice": f"{SECTIONS}\n{BLOCK}",
    "text after the block": f"{SECTIONS}\nand so on",
    "text after a label": f"{SECTIONS} .\n{BLOCK}",
    "a NUL after the block": f"{SECTIONS}\n\0",
    "a label twice": f"{SECTIONS}\nResponse: unharmful",
    "labels in another case": SECTIONS.replace(": harmful", ": HARMFUL"),
    "another order": SECTIONS.replace(
        "Completion: refusal\nResponse: unharmful", "Response: unharmful\nCompletion: refusal"
    ),
    "a remark in the block": SECTIONS.replace("Completion", "both\nCompletion"),
    "a heading for a header": SECTIONS.replace("Answers:", "# Answers:"),
    "answers section by section": SECTIONS.replace("a\n", "a\nAnswers:\nRequest: unharmful\n"),
    "None for the response": SECTIONS.replace(": unharmful", ": None"),
    "a megabyte of line breaks before a label": SECTIONS.replace("Response", "\n" * MEGABYTE + "Response"),
}
RSAFE_NO_VERDICT = {
    "nothing": "",
    "white space": " \n\t\u00a0",
    "unclosed reasoning": f"<think>a\n{BOX}",
    "a box in the reasoning alone": f"<think>{BOX}</think>",
    "tags in reverse order": f"</think>a{BOX}<think>",
    "no box": BOXED.replace("\\boxed", ""),
    "an open box": BOXED.removesuffix("}"),
    "an open box after a good one": BOXED + "\\boxed{",
    "an empty box": BOXED.replace("unsafe", ""),
    "all labels listed": BOXED.replace("unsafe", "safe, unsafe"),
    "a remark in the box": BOXED.replace("unsafe", "unsafe I think"),
    "braces in the box": BOXED.replace("unsafe", "{unsafe}"),
    "a word of another grammar": BOXED.replace("unsafe", "harmful"),
    "Cyrillic letters": BOXED.replace("unsafe", "unsаfe"),
    "a long s": BOXED.replace("unsafe", "unſafe"),
    "full-width letters": BOXED.replace("unsafe", "ｕｎｓａｆｅ"),
    "a full-width brace": BOXED.replace("{", "｛"),
    "a NUL in the box": BOXED.replace("unsafe", "un\0safe"),
    "a zero-width space in the box": BOXED.replace("unsafe", "unsafe\u200b"),
    "a dotless i in the tag that ends the reasoning": BOXED.replace("</think>", "</thınk>"),
    "a wall of boxes": "\\boxed{" * (MEGABYTE // 8),
    "a wall of opening tags": "<think>" * (MEGABYTE // 8),
    **FLOODS,
}
RSAFE_NOT_WELL_FORMED = {
    "no reasoning": BOX,
    "two boxes that agree": f"{BOXED}\n{BOX}",
    "two boxes that do not": BOXED.replace("\\", "\\boxed{safe}\\"),
    "the reasoning twice": f"<think>\na\n</think>\n{BOXED}",
    "a nested opening tag": BOXED.replace("a\n", "<think>\n"),
    "text after the box": f"{BOXED} and so on",
    "text before the reasoning": f"a{BOXED}",
    "text between reasoning and box": BOXED.replace("</think>", "</think>a"),
    "another case": BOXED.replace("unsafe", "UNSAFE"),
    "white space in the box": BOXED.replace("unsafe", " unsafe\n"),
    "a NUL after the box": f"{BOXED}\0",
    "a dotless i in the tag that opens the reasoning": BOXED.replace("<think>", "<thınk>"),
    "a megabyte of line breaks before a remark": BOXED.replace("</think>", "</think>" + "\n" * MEGABYTE + "x"),
}
GOOD = {"guardreasoner_vl": hostile.GOOD, "guardreasoner": SECTIONS, "rsafe": BOXED}
NO_VERDICT = {
    "guardreasoner_vl": hostile.NO_VERDICT,
    "guardreasoner": GUARDREASONER_NO_VERDICT,
    "rsafe": RSAFE_NO_VERDICT,
}
NOT_WELL_FORMED = {
    "guardreasoner_vl": hostile.NOT_WELL_FORMED,
    "guardreasoner": GUARDREASONER_NOT_WELL_FORMED,
    "rsafe": RSAFE_NOT_WELL_FORMED,
}
LABELS = {
    "guardreasoner_vl": {Task.PROMPT: Label.HARMFUL, Task.RESPONSE: Label.UNHARMFUL},
    "guardreasoner": {Task.PROMPT: Label.HARMFUL, Task.REFUSAL: Label.REFUSAL, Task.RESPONSE: Label.UNHARMFUL},
    "rsafe": {Task.PROMPT: Label.HARMFUL},
}
"""What the good answers are right about."""
