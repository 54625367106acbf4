"""Duplicates and contamination as JSON and as a table that people read."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gr_vl.data.build.contamination import Match
from gr_vl.data.build.features import Corpus
from gr_vl.data.build.files import replace_text
from gr_vl.data.build.recipe import Recipe
from gr_vl.data.build.selection import EXACT, NEAR, Selection

EXAMPLES = 10
"""Of each benchmark; every removed row stands in removed.jsonl."""


def write(out: Path, recipe: Recipe, rows: Mapping[str, int], corpus: Corpus, chosen: Selection) -> None:
    """Write `contamination.json` and `contamination.md`."""
    reasons = Counter((row.reason, corpus.source[row.row], corpus.source[row.of]) for row in chosen.removed)
    train = {
        "rows": sum(rows[item.name] for item in recipe.ingredients),
        EXACT: sum(number for (reason, *_), number in reasons.items() if reason == EXACT),
        NEAR: sum(number for (reason, *_), number in reasons.items() if reason == NEAR),
        "exact duplicates with contrary labels, first kept": chosen.contrary,
        "near duplicates with contrary labels, both kept": chosen.contrasts,
        "by_sources": {
            f"{own} of {other}": number
            for (reason, own, other), number in sorted(reasons.items())
            if reason in (EXACT, NEAR)
        },
    }
    benchmarks = {name: _benchmark(matches, rows[name], corpus) for name, matches in chosen.matches.items()}
    content = {"near": {"text": recipe.near_text, "image": recipe.near_image}, "train": train, "benchmarks": benchmarks}
    replace_text(out / "contamination.json", json.dumps(content, indent=2) + "\n")
    replace_text(out / "contamination.md", _table(content))


def _benchmark(matches: list[Match], rows: int, corpus: Corpus) -> dict[str, Any]:
    worst = sorted(matches, key=lambda match: (not match.exact, -match.likeness, match.row))[:EXAMPLES]
    return {
        "rows": rows,
        "rows_found_in_train": len({match.benchmark_row for match in matches}),
        "train_rows": len(matches),
        "exact": sum(match.exact for match in matches),
        "near": sum(not match.exact for match in matches),
        "by_source": dict(sorted(Counter(corpus.source[match.row] for match in matches).items())),
        "examples": [
            {
                "id": corpus.id[match.row],
                "benchmark_id": corpus.id[match.benchmark_row],
                "likeness": round(match.likeness, 3),
                "exact": match.exact,
            }
            for match in worst
        ],
    }


def _table(content: Mapping[str, Any]) -> str:
    train = content["train"]
    lines = [
        "# Duplicates and contamination",
        "",
        f"Near: word shingles alike to {content['near']['text']:g} or more (Jaccard), and thumbnails within "
        f"{content['near']['image']} of 255. Every row below is left out of the corpus; removed.jsonl names each.",
        "",
        f"Of {train['rows']:,} training rows {train[EXACT]:,} are exact and {train[NEAR]:,} near duplicates of others.",
        "",
        "| benchmark | rows | of them found in train | train rows, exact | train rows, near | from |",
        "| --- | --: | --: | --: | --: | --- |",
    ]
    for name, row in content["benchmarks"].items():
        sources = ", ".join(f"{source} {number:,}" for source, number in row["by_source"].items()) or "-"
        cells = [name, *(f"{row[key]:,}" for key in ("rows", "rows_found_in_train", "exact", "near")), sources]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
