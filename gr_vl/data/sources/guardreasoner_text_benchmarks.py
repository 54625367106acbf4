"""The eleven text benchmarks of GuardReasoner (arXiv 2501.18492) and GuardReasoner-VL, as the papers' code ships them.

JSON arrays of instruction, input and output; the output is the label alone, or `Answers:` lines of which only the one
for the benchmark's task counts. File names are those of either repository. All but WildGuardTest were read, and their
counts are what was found; where the file holds both tasks of WildGuardTest, rows without the label are passed over.
"""

from collections.abc import Callable, Mapping
from typing import Any

from gr_vl.data.sources import transcript
from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import HARM_WORDS, Row
from gr_vl.data.sources.convert import Convert, reader
from gr_vl.errors import Broken
from gr_vl.schema import Label, Modality, Sample, Task


def _label(output: str, task: Task) -> Label | None:
    return HARM_WORDS.get(output.strip().lower()) or transcript.labels(output).get(task)


def _convert(task: Task) -> Convert:
    def sample(row: Row) -> Sample:
        prompt, response = transcript.exchange("input", row.text("input"))
        label = _label(row.text("output"), task)
        if label is None:
            raise Broken("output", row.get("output"), f"no label of the {task}")
        return row.sample(prompt, response=response, **{f"{task}_label": label})

    return sample


def _stated(task: Task) -> Callable[[Mapping[str, Any]], bool]:
    """A file of several tasks writes None where this one's label is unknown."""
    missing = "request: none" if task is Task.PROMPT else "response: none"
    return lambda cells: missing not in str(cells.get("output")).lower()


def _source(name: str, title: str, file: str, task: Task, published: dict[str, int], unverified: str = "") -> Source:
    return Source(
        name=f"bench_{name}",
        title=title,
        url="https://github.com/yueliu1999/GuardReasoner",
        licence="each set's own",
        layout=f"data/benchmark/{file.replace('|', ' or ')}: input, output",
        tasks=(task,),
        modalities=(Modality.TEXT,),
        read=reader(f"bench_{name}", file, convert=_convert(task), selects=_stated(task)),
        published=published,
        benchmark=True,
        selects=f"rows with a label of the {task}",
        unverified=unverified,
    )


def _classes(task: Task, harmful: int, unharmful: int) -> dict[str, int]:
    return {"rows": harmful + unharmful, f"{task}/harmful": harmful, f"{task}/unharmful": unharmful}


_P, _R = Task.PROMPT, Task.RESPONSE
_UNREAD = "not read: no copy of this file was at hand"
SOURCES = (
    _source("toxicchat", "ToxicChat", "*toxic_chat.json|ToxicChat.json", _P, _classes(_P, 362, 2_491)),
    _source("openai_moderation", "OpenAIModeration", "*OpenAIModeration.json", _P, _classes(_P, 522, 1_158)),
    _source("aegis", "AegisSafetyTest", "*AegisSafetyTest.json", _P, _classes(_P, 232, 127)),
    _source("simplesafetytests", "SimpleSafetyTests", "*SimpleSafetyTests.json", _P, _classes(_P, 100, 0)),
    _source(
        "harmbench_prompt", "HarmBenchPrompt", "*harmbench_prompt.json|HarmBenchPrompt.json", _P, _classes(_P, 239, 0)
    ),
    _source(
        "wildguard_prompt",
        "WildGuardTest, requests",
        "*wild_guard_test.json|WildGuardTestPrompt.json",
        _P,
        {"rows": 1_756},
        _UNREAD,
    ),
    _source(
        "harmbench_response",
        "HarmBenchResponse",
        "*harmbench_response.json|HarmBenchResponse.json",
        _R,
        _classes(_R, 273, 329),
    ),
    _source("saferlhf", "SafeRLHF", "*safe_rlhf.json|SafeRLHF.json", _R, _classes(_R, 1_000, 1_000)),
    _source("beavertails", "BeaverTails", "*beaver_tails.json|BeaverTails.json", _R, _classes(_R, 1_733, 1_288)),
    _source(
        "xstest_response",
        "XSTestResponseHarmful",
        "*xstest_response_harmful.json|XSTestReponseHarmful.json",
        _R,
        _classes(_R, 78, 368),
    ),
    _source(
        "wildguard_response",
        "WildGuardTest, responses",
        "*wild_guard_test.json|WildGuardTestResponse.json",
        _R,
        {"rows": 1_768},
        _UNREAD,
    ),
)
