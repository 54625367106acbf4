"""What a build leaves beside the corpus: what went in, what came out, what was left out and why.

Nothing here names a time, a machine or a path outside of the sources' folders: the same build has the same files.
"""

import hashlib
import json
import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gr_vl import __version__, dialects
from gr_vl.data import confined
from gr_vl.data.build import contamination_report
from gr_vl.data.build.features import Corpus
from gr_vl.data.build.files import replace_text, sha256
from gr_vl.data.build.recipe import Draw, Ingredient, Recipe
from gr_vl.data.build.selection import Selection
from gr_vl.data.sources.base import Source

NAME = "manifest.json"
PACKAGES = ("numpy", "pillow", "pyarrow", "scipy")
"""What decides the bytes of a corpus."""

Quarantined = Mapping[str, Sequence[Mapping[str, Any]]]


def write(
    recipe: Recipe,
    out: Path,
    sources: Mapping[str, Source],
    rows: Mapping[str, int],
    quarantined: Quarantined,
    corpus: Corpus,
    chosen: Selection,
) -> None:
    """Write `removed.jsonl`, the contamination report, `inputs.sha256` and, last, `manifest.json`."""
    removed = ({"row": row.row, "reason": row.reason, "of": row.of} for row in chosen.removed)
    replace_text(out / "removed.jsonl", "".join(f"{json.dumps(_named(row, corpus))}\n" for row in removed))
    contamination_report.write(out, recipe, rows, corpus, chosen)
    inputs = _inputs([*recipe.ingredients, *recipe.benchmarks])
    replace_text(out / "inputs.sha256", "".join(inputs.values()))
    content = {
        "seed": recipe.seed,
        "guard": dialects.spec(recipe.dialect).to_json(),
        "near": {"text": recipe.near_text, "image": recipe.near_image},
        "splits": {
            name: {"share": share, **count(corpus, chosen.splits[name])} for name, share in recipe.splits.items()
        },
        "all": count(corpus, chosen.kept),
        "sources": {
            item.name: _source(item, sources[item.name], rows, quarantined, corpus, chosen)
            | {"inputs": hashlib.sha256(inputs[str(item.folder)].encode()).hexdigest()}
            for item in (*recipe.ingredients, *recipe.benchmarks)
        },
        "parts": {part.name: {"draw": _plain(part.draw)} for part in recipe.parts},
        "missing": chosen.missing,
        "outputs": {f"{name}.parquet": sha256(out / f"{name}.parquet") for name in recipe.splits},
        "versions": {"gr_vl": __version__, "python": platform.python_version()}
        | {package: version(package) for package in PACKAGES},
    }
    replace_text(out / NAME, json.dumps(content, indent=2) + "\n")


def count(corpus: Corpus, rows: Iterable[int]) -> dict[str, Any]:
    """Number of rows: in all, by source, by modality, and by modality, task and label."""
    rows = list(rows)
    tally = Counter(
        f"{corpus.modality[row]}/{task}/{label}" for row in rows for task, label in corpus.labels[row].items()
    )
    return {
        "rows": len(rows),
        "by_source": dict(sorted(Counter(corpus.source[row] for row in rows).items())),
        "by_modality": dict(sorted(Counter(corpus.modality[row] for row in rows).items())),
        "by_class": dict(sorted(tally.items())),
    }


def _source(
    item: Ingredient,
    source: Source,
    rows: Mapping[str, int],
    quarantined: Quarantined,
    corpus: Corpus,
    chosen: Selection,
) -> dict[str, Any]:
    facts = {
        "title": source.title,
        "url": source.url,
        "licence": source.licence,
        "rows": rows[item.name],
        "quarantined": dict(sorted(Counter(row["reason"] for row in quarantined[item.name]).items())),
    }
    if item.name in chosen.matches:
        return facts | {"benchmark": True}
    removed = Counter(row.reason for row in chosen.removed if corpus.source[row.row] == item.name)
    kept = sum(corpus.source[row] == item.name for row in chosen.kept)
    undrawn = rows[item.name] - len(quarantined[item.name]) - removed.total() - kept
    return facts | {
        "draw": _plain(item.draw),
        "removed": dict(sorted(removed.items())),
        "not drawn": undrawn,
        "kept": kept,
    }


def _plain(draw: Draw) -> Any:
    return draw.amounts[""] if list(draw.amounts) == [""] else dict(draw.amounts)


def _named(row: dict[str, Any], corpus: Corpus) -> dict[str, Any]:
    own, other = row["row"], row["of"]
    return {
        "id": corpus.id[own],
        "source": corpus.source[own],
        "row": int(corpus.row[own]),
        "reason": row["reason"],
        "of": {"id": corpus.id[other], "source": corpus.source[other], "row": int(corpus.row[other])},
    }


def _inputs(items: Iterable[Ingredient]) -> dict[str, str]:
    """The files of each folder as `sha256sum` lists them beside it, by folder; each folder is read once."""
    listed: dict[str, str] = {}
    for item in items:
        if str(item.folder) not in listed:
            files = sorted(confined.files(item.folder, "*"))
            names = (Path(item.folder.name, path.relative_to(item.folder)).as_posix() for path in files)
            rows = (f"{sha256(path)}  {name}\n" for path, name in zip(files, names, strict=True))
            listed[str(item.folder)] = "".join(rows)
    return listed
