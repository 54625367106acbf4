"""HarmImageTest and SPA-VL-Eval (arXiv 2505.11049): messages in the code's repository, pictures in the dataset's.

Row i of the JSON file belongs to picture i of its folder in the order of names: so the authors' evaluation pairs them.
The paths that SPA_VL_Eval.json states are said to be others; those of HarmImageTest.json are the files' own, and a
row that names another is refused. Unless rows and pictures are equally many, nothing is read.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from gr_vl.data import tables
from gr_vl.data.sources import convert, transcript
from gr_vl.data.sources.base import Source
from gr_vl.data.sources.cells import Row
from gr_vl.data.sources.chats import IMAGE, listed, turns
from gr_vl.data.sources.convert import Convert, files
from gr_vl.errors import Broken, DataError
from gr_vl.schema import Modality, Sample, Task


def _encoded(path: Path) -> bytes:
    """The file as it is: a benchmark keeps a sample whose image cannot be opened, and it counts as unanswered.

    Of a file over the size limit, as much as shows that it is over it.
    """
    from gr_vl.data import images

    with path.open("rb") as file:
        return file.read(images.MAX_BYTES + 1)


def _convert(pictures: list[Path], *, named: bool) -> Convert:
    def sample(row: Row) -> Sample:
        said = turns(row, ("user", "assistant"))
        prompt, response = transcript.exchange("messages", said["user"])
        if not prompt.startswith(IMAGE):
            raise Broken("messages", prompt, f"the request does not begin with {IMAGE}")
        path = pictures[row.number].relative_to(row.root).as_posix()
        stated = listed(row, "images")
        if named and [Path(str(one)).name for one in stated] != [Path(path).name]:
            raise Broken("images", stated, f"names another picture than {path}", "fetch the pictures again")
        labels = transcript.labels(said["assistant"])
        return row.sample(
            prompt.removeprefix(IMAGE).removeprefix("\n"),
            images=(_encoded(pictures[row.number]),),
            response=response,
            prompt_label=labels.get(Task.PROMPT),
            response_label=None if response is None else labels.get(Task.RESPONSE),
        )

    return sample


def _reader(source: str, name: str, *, named: bool) -> Callable[[Path], Iterator[Sample | Broken]]:
    def read(root: Path) -> Iterator[Sample | Broken]:
        path, pictures = files(root, f"{name}.json")[0], files(root, f"{name}/*.png|{name}/*.jpg")
        if (rows := sum(1 for _ in tables.rows(path))) != len(pictures):
            raise DataError(f"{path}: {rows} rows and {len(pictures)} pictures do not pair; fetch both again")
        yield from convert.read(source, root, path, _convert(pictures, named=named), set())

    return read


def _source(name: str, title: str, json: str, *, named: bool, **fields: Any) -> Source:
    return Source(
        name=name,
        title=title,
        url="https://huggingface.co/datasets/yueliu1999/GuardReasoner-VLTest",
        licence="each set's own",
        layout=f"data/benchmark/{json}.json of the code's repository, and test/{json}/*.* of the dataset",
        read=_reader(name, json, named=named),
        benchmark=True,
        **fields,
    )


SOURCES = (
    _source(
        "HarmImageTest",
        "HarmImageTest",
        "HarmImageTest",
        named=True,
        tasks=(Task.PROMPT,),
        modalities=(Modality.IMAGE,),
        published={"rows": 3_295, "prompt/harmful": 837, "prompt/unharmful": 2_458},
        unverified="the JSON file was read, the pictures not",
    ),
    _source(
        "SPA-VL-Eval",
        "SPA-VL-Eval",
        "SPA_VL_Eval",
        named=False,
        tasks=(Task.PROMPT, Task.RESPONSE),
        modalities=(Modality.TEXT_IMAGE,),
        published={"rows": 3_282},
        unverified="not read: no copy was at hand; the file has HarmImageTest's shape in public code",
    ),
)
