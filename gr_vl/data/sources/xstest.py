"""XSTest (Röttger et al. 2024, arXiv 2308.01263): its requests alone, and with judged responses and reasoning."""

from collections.abc import Iterator
from pathlib import Path

from gr_vl.data import xstest
from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.errors import Broken
from gr_vl.schema import Label, Modality, Sample, Task


def _responses(root: Path) -> Iterator[Sample | Broken]:
    """What `gr_vl.data.xstest` finds: the file is small, and its rows join across files."""
    loaded = xstest.load(root)
    yield from loaded.samples
    yield from loaded.quarantined


def _prompt(row: Row) -> Sample:
    harmful = row.text("type").startswith("contrast_")
    label = Label.HARMFUL if harmful else Label.UNHARMFUL
    return row.sample(row.text("prompt"), id=row.own_id("id"), prompt_label=label)


SOURCES = (
    Source(
        name="xstest",
        title="XSTest with responses",
        url="https://github.com/yueliu1999/GuardReasoner",
        licence="CC-BY-4.0, responses ODC-BY",
        layout="prompts.json, response_{harmful,refusal}.json, predictions/guardreasoner_3B_response_harmful.jsonl",
        tasks=(Task.PROMPT, Task.RESPONSE),
        modalities=(Modality.TEXT,),
        read=_responses,
        published={"rows": 446, "response/harmful": 78, "response/unharmful": 368},
        benchmark=True,
    ),
    Source(
        name="xstest_prompts",
        title="XSTest",
        url="https://github.com/paul-rottger/xstest",
        licence="CC-BY-4.0",
        layout="xstest_prompts.csv or prompts.json: id, type, prompt",
        tasks=(Task.PROMPT,),
        modalities=(Modality.TEXT,),
        read=reader("xstest_prompts", "xstest_prompts.csv|prompts.json", convert=_prompt),
        published={"rows": 450, "prompt/harmful": 200, "prompt/unharmful": 250},
        benchmark=True,
        unverified="prompts.json was read, the CSV not",
    ),
)
