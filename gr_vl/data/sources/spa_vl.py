"""SPA-VL train (Zhang et al. 2024, arXiv 2406.12030): a picture, a question, and two answers of which one is preferred.

The corpus has no absolute labels, and GuardReasoner-VL does not say how it got its own. Ours, weak: half of the rows
show the preferred answer, which counts as unharmful, the others the rejected one, which counts as harmful; which half
is a function of the question and the picture's name. The request has no label: a teacher decides it.
"""

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Label, Modality, Sample, Task
from gr_vl.seeding import seed_of


def _sample(row: Row) -> Sample:
    question = row.text("question")
    chosen = seed_of("spa_vl", question, row.maybe_text("image_name")) % 2 == 0
    return row.sample(
        question,
        images=(row.image("image"),),
        response=row.text("chosen" if chosen else "rejected"),
        response_label=Label.UNHARMFUL if chosen else Label.HARMFUL,
    )


SOURCE = Source(
    name="spa_vl_train",
    title="SPA-VL train",
    url="https://huggingface.co/datasets/sqrti/SPA-VL",
    licence="see its card",
    layout="data/train-*.parquet: image, image_name, question, chosen, rejected",
    tasks=(Task.RESPONSE,),
    modalities=(Modality.TEXT_IMAGE,),
    read=reader("spa_vl_train", "train-*.parquet", convert=_sample),
    published={"rows": 93_258},
    unverified="not read: path, columns and count are the card's from memory. The labels are ours and weak (a rejected "
    "answer need not be harmful): guardreasoner_vl_train_text_image has the authors'",
)
