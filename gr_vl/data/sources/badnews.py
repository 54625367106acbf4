"""Clickbait and deceptive advertisements on news sites (Zeng, Kohno, Roesner: "Bad News", 2020), pictures alone.

The layout of the authors' download is not known here: this reads the `datasets` image folder, a metadata file beside
the pictures. GuardReasoner-VL's test part calls 11 of its 495 advertisements harmful, and neither the authors' codes
nor VLGuard's `safe` (13 of its 16 unsafe ones are unharmful there) says which.
"""

from pathlib import Path

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import HARM_WORDS, SAFE_WORDS, Row, picture
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Modality, Sample, Task


def _sample(row: Row) -> Sample:
    path = row.text("file_name")
    image = picture("file_name", path, row.root, Path(row.file).parent.as_posix())
    label = row.label("label", HARM_WORDS | SAFE_WORDS)
    return row.sample("", id=f"badnews-{path}", images=(image,), prompt_label=label)


SOURCE = Source(
    name="badnews",
    title="BadNews advertisements",
    url="https://badads.cs.washington.edu",
    licence="see its page",
    layout="metadata.csv (or .jsonl) with file_name and label (harmful or unharmful), and the pictures it names",
    tasks=(Task.PROMPT,),
    modalities=(Modality.IMAGE,),
    read=reader("badnews", "metadata.csv|metadata.jsonl", convert=_sample),
    unverified="not read: the download's layout is not known here, so a metadata file states the labels",
)
