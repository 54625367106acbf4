"""UnsafeBench (Qu et al. 2024, arXiv 2405.03486): pictures that three people labelled Safe or Unsafe.

Both splits are read: GuardReasoner-VL drew its own 80/20 split over the union of its image sources. In its test part
24% of these pictures are harmful; whether that is the card's own label is not known.
"""

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import SAFE_WORDS, Row
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Modality, Sample, Task


def _sample(row: Row) -> Sample:
    return row.sample("", images=(row.image("image"),), prompt_label=row.label("safety_label", SAFE_WORDS))


SOURCE = Source(
    name="unsafebench",
    title="UnsafeBench",
    url="https://huggingface.co/datasets/yiting/UnsafeBench",
    licence="research only, gated",
    layout="data/train-*.parquet and data/test-*.parquet: image, safety_label",
    tasks=(Task.PROMPT,),
    modalities=(Modality.IMAGE,),
    read=reader("unsafebench", "train-*.parquet", "test-*.parquet", convert=_sample),
    published={"rows": 10_146},
    unverified="not read: the real files are gated; columns are those that public code reads, the count is from memory",
)
