"""BeaverTails 30k (Ji et al. 2023, arXiv 2307.04657): `is_safe` judges the response; the request is not judged."""

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Label, Modality, Sample, Task


def _sample(row: Row) -> Sample:
    label = Label.UNHARMFUL if row.flag("is_safe") else Label.HARMFUL
    return row.sample(row.text("prompt"), response=row.text("response"), response_label=label)


def _source(split: str, published: dict[str, int]) -> Source:
    name = f"beavertails_{split}"
    return Source(
        name=name,
        title=f"BeaverTails 30k {split}",
        url="https://huggingface.co/datasets/PKU-Alignment/BeaverTails",
        licence="CC-BY-NC-4.0",
        layout=f"round0/30k/{split}.jsonl.gz (or .jsonl): prompt, response, is_safe",
        tasks=(Task.RESPONSE,),
        modalities=(Modality.TEXT,),
        read=reader(name, f"30k/{split}.jsonl.gz|30k/{split}.jsonl", convert=_sample),
        published=published,
        benchmark=split == "test",
        unverified="not read: path and columns are the card's; the test split's counts are GuardReasoner's",
    )


SOURCES = (
    _source("train", {"rows": 27_186}),
    _source("test", {"rows": 3_021, "response/harmful": 1_733, "response/unharmful": 1_288}),
)
