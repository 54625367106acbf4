"""HOD, harmful object detection (Ha et al. 2023, arXiv 2310.05192): pictures sorted by the object that they show.

The set labels objects, not harm. Ours: guns, knives, blood and insulting gestures are harmful, alcohol and cigarettes
are not. GuardReasoner-VL's own labels are no function of the class (its test part calls 199 of 619 pictures harmful,
knives among both), and it does not say where they come from.
"""

from pathlib import Path

from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row, choose, picture
from gr_vl.data.sources.convert import reader
from gr_vl.schema import Label, Modality, Sample, Task

CLASSES = {
    "alcohol": Label.UNHARMFUL,
    "blood": Label.HARMFUL,
    "cigarette": Label.UNHARMFUL,
    "gun": Label.HARMFUL,
    "insulting_gesture": Label.HARMFUL,
    "knife": Label.HARMFUL,
}


def _sample(row: Row) -> Sample:
    file = Path(row.file)
    label = choose("class", file.parts[-3], CLASSES)
    image = picture("image", row.file, row.root)
    return row.sample("", id=f"hod-{file.parts[-3]}-{row.file}", images=(image,), prompt_label=label)


SOURCE = Source(
    name="hod",
    title="HOD",
    url="https://github.com/poori-nuna/HOD-Benchmark-Dataset",
    licence="see its repository",
    layout="dataset/class/CLASS/normal_cases/*.jpg and hard_cases/*.jpg, CLASS one of: " + ", ".join(CLASSES),
    tasks=(Task.PROMPT,),
    modalities=(Modality.IMAGE,),
    # No table: every picture is a row.
    read=reader("hod", "class/*/*_cases/*.jpg", convert=_sample, rows=lambda path: [{}]),
    published={"rows": 10_631},
    unverified="folder names were seen, pictures not; a picture in two classes comes twice. The labels are ours",
)
