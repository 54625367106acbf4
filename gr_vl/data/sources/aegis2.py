"""Aegis AI Content Safety 2.0 (Ghosh et al. 2025, arXiv 2501.09004): a request, perhaps a response, a label for each.

358 requests come from a set that may not be passed on; they say REDACTED and are refused.
"""

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import SAFE_WORDS, Row
from gr_vl.data.sources.convert import reader
from gr_vl.errors import Broken
from gr_vl.schema import Modality, Sample, Task

_REDACTED = "add the text from the Suicide Detection dataset, as the card says, or leave it out"


def _sample(row: Row) -> Sample:
    prompt = row.text("prompt")
    if prompt.strip() == "REDACTED":
        raise Broken("prompt", prompt, "its text is not passed on", _REDACTED)
    return row.sample(
        prompt,
        id=row.own_id("id"),
        response=row.maybe_text("response"),
        prompt_label=row.maybe_label("prompt_label", SAFE_WORDS),
        response_label=row.maybe_label("response_label", SAFE_WORDS),
    )


def _source(split: str, files: tuple[str, ...], rows: int, *, benchmark: bool) -> Source:
    return Source(
        name=f"aegis2_{split}",
        title=f"Aegis 2.0 {split}",
        url="https://huggingface.co/datasets/nvidia/Aegis-AI-Content-Safety-Dataset-2.0",
        licence="CC-BY-4.0",
        layout=f"{' and '.join(files)}: id, prompt, response, prompt_label, response_label",
        tasks=(Task.PROMPT, Task.RESPONSE),
        modalities=(Modality.TEXT,),
        read=reader(f"aegis2_{split}", *files, convert=_sample),
        published={"rows": rows},
        benchmark=benchmark,
        unverified="not read: columns and row counts are the card's, which counts redacted rows too; that ids are "
        "unique across files is assumed",
    )


SOURCES = (
    _source("train", ("train.json", "refusals_train.json"), 30_007, benchmark=False),
    _source("validation", ("validation.json", "refusals_validation.json"), 1_445, benchmark=False),
    _source("test", ("test.json",), 1_964, benchmark=True),
)
