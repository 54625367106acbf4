"""ToxicChat, release 0124 (Lin et al. 2023, arXiv 2310.17389): real requests, of which GuardReasoner takes those that
a human labelled. `toxicity` is the request's label; the response that the file holds is not judged, and left out.
"""

from collections.abc import Mapping
from typing import Any

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Label, Modality, Sample, Task


def _sample(row: Row) -> Sample:
    row.flag("human_annotation")
    label = Label.HARMFUL if row.flag("toxicity") else Label.UNHARMFUL
    return row.sample(row.text("user_input"), id=row.own_id("conv_id"), prompt_label=label)


def _by_humans(cells: Mapping[str, Any]) -> bool:
    # A cell that is no truth value is refused later, not passed over.
    return str(cells.get("human_annotation")).strip().lower() not in ("false", "0")


def _source(split: str, published: dict[str, int]) -> Source:
    name = f"toxicchat_{split}"
    return Source(
        name=name,
        title=f"ToxicChat 0124 {split}",
        url="https://huggingface.co/datasets/lmsys/toxic-chat",
        licence="CC-BY-NC-4.0",
        layout=f"data/0124/toxic-chat_annotation_{split}.csv: conv_id, user_input, human_annotation, toxicity",
        tasks=(Task.PROMPT,),
        modalities=(Modality.TEXT,),
        read=reader(name, f"0124/toxic-chat_annotation_{split}.csv", convert=_sample, selects=_by_humans),
        published=published,
        benchmark=split == "test",
        selects="rows with human_annotation True",
        unverified="not read: path and columns are the card's; the test split's counts are GuardReasoner's",
    )


SOURCES = (
    _source("train", {"rows": 2_801}),
    _source("test", {"rows": 2_853, "prompt/harmful": 362, "prompt/unharmful": 2_491}),
)
