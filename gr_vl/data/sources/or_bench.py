"""OR-Bench (Cui et al. 2024, arXiv 2405.20947): requests that only sound harmful, beside truly harmful ones."""

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import Convert, reader
from gr_vl.schema import Label, Modality, Sample, Task


def _convert(label: Label) -> Convert:
    def sample(row: Row) -> Sample:
        return row.sample(row.text("prompt"), prompt_label=label)

    return sample


def _source(part: str, rows: int, label: Label) -> Source:
    name = f"or_bench_{part.replace('-', '_')}"
    return Source(
        name=name,
        title=f"OR-Bench {part}",
        url="https://huggingface.co/datasets/bench-llm/or-bench",
        licence="CC-BY-4.0",
        layout=f"or-bench-{part}.csv: prompt, category",
        tasks=(Task.PROMPT,),
        modalities=(Modality.TEXT,),
        read=reader(name, f"or-bench-{part}.csv", convert=_convert(label)),
        published={"rows": rows, f"prompt/{label}": rows},
        benchmark=True,
        unverified="not read: file names, columns and counts are those of the card and of public code",
    )


SOURCES = (
    _source("80k", 80_359, Label.UNHARMFUL),
    _source("hard-1k", 1_319, Label.UNHARMFUL),
    _source("toxic", 655, Label.HARMFUL),
)
