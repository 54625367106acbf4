"""GuardReasonerTrain (arXiv 2501.18492): instruction, input and output over three tasks; as it is, or made into two.

Labels are those that the output ends in: given ones, and for requests of BeaverTails the teacher's own. The files are
named after the four corpora that they were made from, and `Sample.source` is that name: GuardReasoner's ensemble leaves
out one of them at a time.

Made into two, the section on refusal is cut out of the reasoning as for XSTest. Where the reasoning cannot be had in
the form that a dialect can repeat, the sample stays without it: good for RL, not for SFT.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from gr_vl import dialects
from gr_vl.data import xstest
from gr_vl.data.sources import transcript
from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Modality, Sample, Task, Verdict
from gr_vl.tasks import SHARED

ORIGINS = ("wildguard", "aegis", "beavertails", "toxicchat")
_NOTHING = re.compile(r"^(Completion|Response): None[ \t]*$", re.IGNORECASE | re.MULTILINE)
_UNJUDGED = {"completion": "compliance", "response": "unharmful"}


def _sample(reason: Callable[[str], str | None], tasks: tuple[Task, ...], row: Row) -> Sample:
    origin = Path(row.file).name.partition("TrainR")[0].lower()
    if origin not in ORIGINS:
        raise Broken("file", row.file, "its name is none of the release's", "keep the released names: AegisTrainR...")
    prompt, response = transcript.exchange("input", row.text("input"))
    output = row.text("output")
    labels = {task: label for task, label in transcript.labels(output).items() if task in tasks}
    sample = row.sample(
        prompt,
        response=response,
        prompt_label=labels.get(Task.PROMPT),
        response_label=None if response is None else labels.get(Task.RESPONSE),
        reasoning=reason(_settled(output) if response is None else output),
    )
    if sample.response is not None and Task.REFUSAL in labels:
        sample = replace(sample, labels={**sample.labels, Task.REFUSAL: labels[Task.REFUSAL]})
    return replace(sample, source=origin)


def _settled(output: str) -> str:
    # With nothing to judge, None and the negative labels are the same answer.
    return _NOTHING.sub(lambda match: f"{match[1]}: {_UNJUDGED[match[1].lower()]}", output)


def _two(output: str) -> str | None:
    try:
        return xstest.two_tasks(output)[0]
    except DataError:
        return None


def _three(output: str) -> str | None:
    """The reasoning before the answers, if the dialect can write them after it and read them again."""
    dialect, body = dialects.get("guardreasoner"), xstest.without_answers(output).strip()
    verdict = dialect.parse(dialect.answer({task: task.worst for task in dialect.tasks}, body))
    return body if isinstance(verdict, Verdict) and verdict.well_formed else None


def _source(name: str, title: str, tasks: tuple[Task, ...], reason: Callable[[str], str | None]) -> Source:
    return Source(
        name=name,
        title=title,
        url="https://huggingface.co/datasets/yueliu1999/GuardReasonerTrain",
        licence="MIT",
        layout="data/*TrainR-*.parquet, or *TrainR.json as the authors' script writes them: instruction, input, output",
        tasks=tasks,
        modalities=(Modality.TEXT,),
        read=reader(name, "*TrainR-*.parquet|*TrainR.json", convert=partial(_sample, reason, tasks)),
        published={"rows": 127_544},
        origins=ORIGINS,
        unverified="not read: splits and columns are those that the released scripts write; an origin is a file's name",
    )


SOURCES = (
    _source("guardreasoner_train", "GuardReasonerTrain, made into two tasks", (Task.PROMPT, Task.RESPONSE), _two),
    _source("guardreasoner_train_refusal", "GuardReasonerTrain, for dialect guardreasoner", SHARED, _three),
)
