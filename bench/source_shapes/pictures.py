"""Sets of pictures."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from source_shapes.rows import (
    Labels,
    Placeholder,
    Rows,
    Shape,
    place,
    prompt_labels,
    safe,
    write_csv,
    write_json,
    write_parquet,
)


def _spa_vl(folder: Path, rows: Rows) -> None:
    """Both answers say what they are: which of them a converter shows is its own affair."""
    write_parquet(
        place(folder, "data/train-00000-of-00001.parquet"),
        (
            {
                "image": row.embedded(),
                "question": row.prompt,
                "chosen": f"chosen: {row.response}",
                "rejected": f"rejected: {row.response}",
                "image_name": f"{row.number}.png",
                "class1": "placeholder",
                "class2": "placeholder",
                "class3": "placeholder",
            }
            for row in rows
        ),
    )


def _unsafebench(folder: Path, rows: Rows) -> None:
    """The first half is the train split, the rest the test split."""

    def table(given: Iterable[Placeholder]) -> Iterator[dict[str, Any]]:
        for row in given:
            label = safe(row.prompt_label).capitalize()
            yield {"image": row.embedded(), "safety_label": label, "category": "x", "source": "x", "text": row.prompt}

    given = list(rows)
    write_parquet(place(folder, "data/train-00000-of-00001.parquet"), table(given[: (len(given) + 1) // 2]))
    write_parquet(place(folder, "data/test-00000-of-00001.parquet"), table(given[(len(given) + 1) // 2 :]))


def _vlguard(kind: str, folder: Path, rows: Rows) -> None:
    """All rows but the last in train, and in either file one of another source."""
    given = list(rows)
    for split, part in (("train", given[:-1]), ("test", given[-1:])):
        table: list[dict[str, Any]] = [{"id": "x", "image": "privacyAlert/x.png", "safe": True, "instr-resp": []}]
        for row in part:
            image, told = f"{kind}/{row.number}.png", [{"instruction": row.prompt, "response": row.response}]
            place(folder, f"{split}/{image}").write_bytes(row.image())
            safe = row.prompt_label == "unharmful"
            table.append({"id": f"{kind}_{row.number}", "image": image, "safe": safe, "instr-resp": told})
        write_json(place(folder, f"{split}.json"), table)


_HOD = ("alcohol", "blood", "cigarette", "gun", "insulting_gesture", "knife")


def _hod(folder: Path, rows: Rows) -> None:
    """Pictures in turn of every class; the numbers grow with the classes, as the real ones do."""
    given = list(rows)
    for index, row in enumerate(given):
        kind = _HOD[index * len(_HOD) // len(given)]
        case = "normal_cases" if index % 2 else "hard_cases"
        place(folder, f"dataset/class/{kind}/{case}/img_hod_{row.number:06d}.jpg").write_bytes(row.image())


def _badnews(folder: Path, rows: Rows) -> None:
    def table() -> Iterator[dict[str, Any]]:
        for row in rows:
            place(folder, f"ads/{row.number}.png").write_bytes(row.image())
            yield {"file_name": f"{row.number}.png", "label": row.prompt_label}

    write_csv(place(folder, "ads/metadata.csv"), table())


def _left_open(row: Placeholder) -> Labels:
    """Where the converter's own rule decides: tests of that rule say what is right."""
    return None, None


SHAPES: dict[str, Shape] = {
    "spa_vl_train": (_spa_vl, _left_open),
    "unsafebench": (_unsafebench, prompt_labels),
    "hateful_memes": (partial(_vlguard, "hatefulMemes"), prompt_labels),
    "harm_p": (partial(_vlguard, "harm-p"), prompt_labels),
    "hod": (_hod, _left_open),
    "badnews": (_badnews, prompt_labels),
}
