"""GuardReasoner-VLTrain (arXiv 2505.11049): transcripts with reasoning and labels, ready for cold-start SFT.

Rows are {messages: [system, user, assistant], images: [...]}. The user's message is a transcript in which `<image>`
right after its first line stands for the picture; the assistant's is <think> reasoning </think> and a <result> block.
"""

import re

from gr_vl.data.sources import transcript
from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.chats import IMAGE, pictures, turns
from gr_vl.data.sources.convert import reader
from gr_vl.errors import Broken
from gr_vl.schema import Modality, Sample, Task

_TARGET = re.compile(r"\s*<think>(.*)</think>\s*<result>(.*)</result>\s*", re.DOTALL)


def _sample(row: Row) -> Sample:
    said = turns(row, ("system", "user", "assistant"))
    prompt, response = transcript.exchange("messages", said["user"])
    images = pictures(row, ("images",))
    for _ in images:
        if not prompt.startswith(IMAGE):
            raise Broken("messages", prompt, f"{len(images)} pictures, and fewer {IMAGE} before the request's text")
        prompt = prompt.removeprefix(IMAGE).removeprefix("\n")
    target = _TARGET.fullmatch(said["assistant"])
    if target is None or "<think>" in target[1] or "</think>" in target[1]:
        raise Broken("messages", said["assistant"], "no <think> block and <result> block, each once")
    labels = transcript.labels(target[2])
    return row.sample(
        prompt,
        images=tuple(images),
        response=response,
        prompt_label=labels.get(Task.PROMPT),
        response_label=None if response is None else labels.get(Task.RESPONSE),
        reasoning=target[1].strip(),
    )


def _source(part: str, json: str, modality: Modality, rows: int) -> Source:
    name = f"guardreasoner_vl_train_{part}"
    return Source(
        name=name,
        title=f"GuardReasoner-VLTrain, {part}",
        url="https://huggingface.co/datasets/yueliu1999/GuardReasoner-VLTrain",
        licence="see its card",
        layout=f"data/{part}-*.parquet or {json}: messages, images; pictures embedded, or below the folder under the "
        "path that the row states (GuardReasoner-VLTrain-Image)",
        tasks=(Task.PROMPT, Task.RESPONSE),
        modalities=(modality,),
        read=reader(name, f"{part}-*.parquet|{json}", convert=_sample),
        published={"rows": rows, str(modality): rows},
        unverified="not read: splits, columns and file names are those that public code reads",
    )


SOURCES = (
    _source("text", "GuardReasoner*VLTrainText.json", Modality.TEXT, 63_799),
    _source("image", "GuardReasoner*VLTrainImage.json", Modality.IMAGE, 13_267),
    _source("text_image", "GuardReasoner*VLTrainTextImage.json", Modality.TEXT_IMAGE, 46_030),
)
