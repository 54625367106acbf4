"""Hateful Memes and Harm-P as VLGuard processed them (Zong et al. 2024, arXiv 2402.02207): a picture and `safe`.

VLGuard's instructions are left out: GuardReasoner-VL shows these pictures alone. Its test part agrees with `safe` on
131 of 140 Hateful Memes and 38 of 43 pictures of Harm-P, as far as they could be matched by name; nothing says why
the others differ.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row, picture
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Label, Modality, Sample, Task


def _sample(row: Row) -> Sample:
    path, file = row.text("image"), Path(row.file)
    # VLGuard ships train.zip beside train.json; people unpack it into a folder of its name, or where it lies.
    image = picture("image", path, row.root, (file.parent / file.stem).as_posix(), file.parent.as_posix())
    label = Label.UNHARMFUL if row.flag("safe") else Label.HARMFUL
    return row.sample("", id=row.own_id("id"), images=(image,), prompt_label=label)


def _source(name: str, title: str, folder: str, published: dict[str, int], unverified: str) -> Source:
    def selects(cells: Mapping[str, Any]) -> bool:
        return str(cells.get("image")).startswith(f"{folder}/")

    return Source(
        name=name,
        title=f"{title}, VLGuard's form",
        url="https://huggingface.co/datasets/ys-zong/VLGuard",
        licence="VLGuard MIT, gated; the pictures their authors' own",
        layout=f"train.json and test.json, train.zip and test.zip unpacked: {folder}/*.png",
        tasks=(Task.PROMPT,),
        modalities=(Modality.IMAGE,),
        read=reader(name, "train.json", "test.json", convert=_sample, selects=selects),
        published=published,
        selects=f"rows whose image lies in {folder}/",
        unverified=unverified,
    )


_READ = "the two JSON files were read, the pictures not"
SOURCES = (
    _source(
        "hateful_memes",
        "Hateful Memes",
        "hatefulMemes",
        {"rows": 700, "prompt/harmful": 521, "prompt/unharmful": 179},
        _READ,
    ),
    _source(
        "harm_p",
        "Harm-P",
        "harm-p",
        {"rows": 196},
        f"{_READ}; 4 of its 200 rows are in train.json and test.json alike, and count once",
    ),
)
