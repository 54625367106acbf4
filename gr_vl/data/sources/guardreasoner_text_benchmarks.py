"""The twelve text benchmarks of GuardReasoner (arXiv 2501.18492) and GuardReasoner-VL, as the papers' code ships them.

JSON arrays of instruction, input and output; the output is the label alone, or `Answers:` lines of which only those of
the benchmark's tasks count. File names are those of either repository; where a folder holds both, GuardReasoner's are
read. All but WildGuardTest and XSTestResponseRefusal were read, and their counts are what was found. A row without a
label of the benchmark's tasks is passed over.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from gr_vl.data.sources import convert, transcript
from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import HARM_WORDS, Row
from gr_vl.errors import Broken
from gr_vl.schema import Label, Modality, Sample, Task
from gr_vl.tasks import SHARED

_ALONE = {"Prompt.json": (Task.PROMPT,), "Response.json": (Task.RESPONSE,)}
"""The one task that a file of GuardReasoner-VL's repository is about, by how its name ends."""


def _labels(output: str, tasks: tuple[Task, ...]) -> dict[Task, Label]:
    word = HARM_WORDS.get(output.strip().lower())
    if word is not None:
        return {task: word for task in tasks if len(tasks) == 1 and word in task.labels}
    return {task: label for task, label in transcript.labels(output).items() if task in tasks}


def _convert(tasks: tuple[Task, ...]) -> convert.Convert:
    def sample(row: Row) -> Sample:
        prompt, response = transcript.exchange("input", row.text("input"))
        labels = _labels(row.text("output"), tasks)
        if not labels:
            raise Broken("output", row.get("output"), f"no label of the {' or '.join(tasks)}")
        if response is None and any(task.needs_response for task in labels):
            raise Broken("response", None, "a label of a response that is not there", "add the response")
        return Sample(row.id, row.source, prompt, response=response, labels=labels)

    return sample


def _stated(tasks: tuple[Task, ...]) -> Callable[[Mapping[str, Any]], bool]:
    """A file of several tasks writes None where a label is unknown."""
    missing = [f"{transcript.HEADINGS[task]}: none" for task in tasks]
    return lambda cells: not all(words in str(cells.get("output")).lower() for words in missing)


def _source(
    name: str, files: tuple[str, ...], tasks: tuple[Task, ...], published: dict[str, int], unverified: str = ""
) -> Source:
    def read(root: Path) -> Iterator[Sample | Broken]:
        for path in convert.files(root, *files):
            own = next((alone for end, alone in _ALONE.items() if path.name.endswith(end) and alone[0] in tasks), tasks)
            yield from convert.read(name, root, path, _convert(own), set(), selects=_stated(own))

    return Source(
        name=name,
        title=name,
        url="https://github.com/yueliu1999/GuardReasoner",
        licence="each set's own",
        layout=f"data/benchmark/{', '.join(file.replace('|', ' or ') for file in files)}: input, output",
        tasks=tasks,
        modalities=(Modality.TEXT,),
        read=read,
        published=published,
        benchmark=True,
        selects=f"rows with a label of the {' or '.join(tasks)}",
        unverified=unverified,
    )


def _classes(task: Task, positive: int, negative: int) -> dict[str, int]:
    # The labels' order is from the mildest to the worst.
    mild, worst = task.labels
    return {"rows": positive + negative, f"{task}/{worst}": positive, f"{task}/{mild}": negative}


def _one(name: str, file: str, task: Task, positive: int, negative: int, unverified: str = "") -> Source:
    """A benchmark of one task: GuardReasoner's file name after its number, and GuardReasoner-VL's."""
    return _source(name, (f"?_?_{file}",), (task,), _classes(task, positive, negative), unverified)


_P, _R = Task.PROMPT, Task.RESPONSE
_UNREAD = "not read: no copy of this file was at hand"
SOURCES = (
    _one("ToxicChat", "toxic_chat.json|ToxicChat.json", _P, 362, 2_491),
    _one("OpenAIModeration", "OpenAIModeration.json|OpenAIModeration.json", _P, 522, 1_158),
    _one("AegisSafetyTest", "AegisSafetyTest.json|AegisSafetyTest.json", _P, 232, 127),
    _one("SimpleSafetyTests", "SimpleSafetyTests.json|SimpleSafetyTests.json", _P, 100, 0),
    _one("HarmBenchPrompt", "harmbench_prompt.json|HarmBenchPrompt.json", _P, 239, 0),
    _one("HarmBenchResponse", "harmbench_response.json|HarmBenchResponse.json", _R, 273, 329),
    _one("SafeRLHF", "safe_rlhf.json|SafeRLHF.json", _R, 1_000, 1_000),
    _one("BeaverTails", "beaver_tails.json|BeaverTails.json", _R, 1_733, 1_288),
    _one("XSTestResponseHarmful", "xstest_response_harmful.json|XSTestReponseHarmful.json", _R, 78, 368),
    _one("XSTestResponseRefusal", "xstest_response_refusal.json", Task.REFUSAL, 178, 271, _UNREAD),
    _source(
        "WildGuardTest",
        tuple(f"?_?_wild_guard_test.json|WildGuardTest{part}.json" for part in ("Prompt", "Response")),
        SHARED,
        {"prompt": 1_756, "response": 1_768, "refusal": 1_777},
        _UNREAD,
    ),
)
