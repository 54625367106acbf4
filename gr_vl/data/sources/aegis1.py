"""Aegis AI Content Safety 1.0 (Ghosh et al. 2024, arXiv 2404.05993): one text, up to five annotators.

GuardReasoner's rule, from its released script: the whole text is the request, there is no response, and the label is
what most annotators wrote, the first of those that are equally frequent; "Safe" is unharmful and every category,
"Needs Caution" too, is harmful. The benchmark takes the 359 test rows that are a user's message alone.
"""

from collections import Counter
from typing import Any

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.errors import Broken
from gr_vl.schema import Label, Modality, Sample, Task

ANNOTATORS = 5


def _sample(row: Row) -> Sample:
    return row.sample(row.text("text"), prompt_label=_majority(row))


def _majority(row: Row) -> Label:
    cells = [row.maybe_text(f"labels_{number}") for number in range(_annotators(row))]
    votes = [cell.strip() for cell in cells if cell is not None and cell.strip() not in ("", "None")]
    if not votes:
        raise Broken("labels_0", None, "no annotator's label", "label it, or leave it out")
    return Label.UNHARMFUL if Counter(votes).most_common(1)[0][0].lower() == "safe" else Label.HARMFUL


def _annotators(row: Row) -> int:
    number = row.get("num_annotations")
    whole = isinstance(number, int) or (isinstance(number, float) and number.is_integer())
    return min(int(number), ANNOTATORS) if whole else ANNOTATORS


def _source(split: str, **fields: Any) -> Source:
    return Source(
        name=f"aegis1_{split}",
        title=f"Aegis 1.0 {split}",
        url="https://huggingface.co/datasets/nvidia/Aegis-AI-Content-Safety-Dataset-1.0",
        licence="CC-BY-4.0",
        layout=f"one file *_{split}_*.parquet: text, text_type, num_annotations, labels_0 ... labels_4",
        tasks=(Task.PROMPT,),
        modalities=(Modality.TEXT,),
        **fields,
    )


SOURCES = (
    _source(
        "train",
        read=reader("aegis1_train", "*_train_*.parquet", convert=_sample),
        published={"rows": 10_798},
        unverified="not read: the file's name and the spelling of its labels",
    ),
    _source(
        "test",
        read=reader(
            "aegis1_test",
            "*_test_*.parquet",
            convert=_sample,
            selects=lambda cells: cells.get("text_type") == "user_message",
        ),
        published={"rows": 359, "prompt/harmful": 232, "prompt/unharmful": 127},
        benchmark=True,
        selects="rows with text_type user_message",
        unverified="not read: the file's name, and that this selection gives the published 359",
    ),
)
