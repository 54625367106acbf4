"""WildGuardMix (Han et al. 2024, arXiv 2406.18495): requests and responses with three labels; any may be missing.

The refusal label is dropped, as GuardReasoner-VL dropped the task. Files and sizes are the card's; columns are those
that GuardReasoner's released script reads.
"""

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import HARM_WORDS, Row
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Modality, Sample, Task


def _sample(row: Row) -> Sample:
    return row.sample(
        row.text("prompt"),
        response=row.maybe_text("response"),
        prompt_label=row.maybe_label("prompt_harm_label", HARM_WORDS),
        response_label=row.maybe_label("response_harm_label", HARM_WORDS),
    )


def _source(split: str, published: dict[str, int], unverified: str) -> Source:
    return Source(
        name=f"wildguard_{split}",
        title=f"WildGuard{split.capitalize()}",
        url="https://huggingface.co/datasets/allenai/wildguardmix",
        licence="ODC-BY, gated",
        layout=f"{split}/wildguard_{split}.parquet: prompt, response, prompt_harm_label, response_harm_label",
        tasks=(Task.PROMPT, Task.RESPONSE),
        modalities=(Modality.TEXT,),
        read=reader(f"wildguard_{split}", f"wildguard_{split}.parquet", convert=_sample),
        published=published,
        benchmark=split == "test",
        unverified=unverified,
    )


SOURCES = (
    _source("train", {"rows": 86_759}, "not read: the real file is gated"),
    _source(
        "test",
        {"rows": 1_725},
        "not read: the real file is gated. Its card counts 1,725 items, the GuardReasoner papers judge 1,756 requests "
        "and 1,768 responses: WildGuardTest is theirs",
    ),
)
