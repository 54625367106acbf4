"""GuardReasonerTrain (arXiv 2501.18492): instruction, input and output over three tasks, made into two.

Labels are those that the output ends in: given ones, and for requests of BeaverTails the teacher's own. The section on
refusal is cut out of the reasoning as for XSTest; where that cannot be done the sample stays, without reasoning: good
for RL, not for SFT.
"""

import re

from gr_vl.data import xstest
from gr_vl.data.sources import transcript
from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.errors import DataError
from gr_vl.schema import Modality, Sample, Task

_NO_RESPONSE = re.compile(r"^Response: None[ \t]*$", re.IGNORECASE | re.MULTILINE)


def _sample(row: Row) -> Sample:
    prompt, response = transcript.exchange("input", row.text("input"))
    output = row.text("output")
    labels = transcript.labels(output)
    return row.sample(
        prompt,
        response=response,
        prompt_label=labels.get(Task.PROMPT),
        response_label=None if response is None else labels.get(Task.RESPONSE),
        reasoning=_reasoning(output, response),
    )


def _reasoning(output: str, response: str | None) -> str | None:
    # With nothing to judge, None and unharmful are the same answer.
    trace = _NO_RESPONSE.sub("Response: unharmful", output) if response is None else output
    try:
        return xstest.two_tasks(trace)[0]
    except DataError:
        return None


SOURCE = Source(
    name="guardreasoner_train",
    title="GuardReasonerTrain",
    url="https://huggingface.co/datasets/yueliu1999/GuardReasonerTrain",
    licence="MIT",
    layout="data/*TrainR-*.parquet, or *TrainR.json as the authors' script writes them: instruction, input, output",
    tasks=tuple(Task),
    modalities=(Modality.TEXT,),
    read=reader("guardreasoner_train", "*TrainR-*.parquet|*TrainR.json", convert=_sample),
    published={"rows": 127_544},
    unverified="not read: splits and columns are those that the released scripts write",
)
