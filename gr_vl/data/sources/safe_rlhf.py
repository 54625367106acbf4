"""PKU-SafeRLHF (Ji et al. 2024, arXiv 2406.15513): two responses to a request, each judged; a row becomes two samples.

GuardReasoner's benchmark of 2,000 was drawn from the test split: training that uses this corpus is cleaned of it.
"""

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Label, Modality, Sample, Task


def _samples(row: Row) -> list[Sample]:
    prompt = row.text("prompt")
    return [
        row.sample(
            prompt,
            id=f"{row.id}-{which}",
            response=row.text(f"response_{which}"),
            response_label=Label.UNHARMFUL if row.flag(f"is_response_{which}_safe") else Label.HARMFUL,
        )
        for which in (0, 1)
    ]


def _source(split: str) -> Source:
    name = f"pku_saferlhf_{split}"
    return Source(
        name=name,
        title=f"PKU-SafeRLHF {split}",
        url="https://huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF",
        licence="CC-BY-NC-4.0",
        layout=f"data/Alpaca2-7B/{split}.jsonl (or several such folders): prompt, response_0, response_1, "
        "is_response_0_safe, is_response_1_safe",
        tasks=(Task.RESPONSE,),
        modalities=(Modality.TEXT,),
        read=reader(name, f"{split}.jsonl|{split}.jsonl.gz|{split}-*.parquet", convert=_samples),
        benchmark=split == "test",
        unverified="not read: columns are those that public code reads, the path is from memory; no count is stated",
    )


SOURCES = tuple(_source(split) for split in ("train", "test"))
