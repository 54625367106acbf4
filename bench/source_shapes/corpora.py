"""Text corpora and benchmarks in their authors' own shapes."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from gr_vl.data import io
from gr_vl.schema import Sample
from gr_vl.tasks import SHARED, labelled
from source_shapes.rows import (
    INSTRUCTION,
    Labels,
    Placeholder,
    Rows,
    Shape,
    both_labels,
    place,
    prompt_labels,
    response_labels,
    safe,
    trace,
    transcript,
    write_csv,
    write_json,
    write_jsonl,
    write_parquet,
)


def _wildguard(split: str, folder: Path, rows: Rows) -> None:
    """Every fifth row is a request alone."""
    write_parquet(
        place(folder, f"{split}/wildguard_{split}.parquet"),
        (
            {
                "prompt": row.prompt,
                "adversarial": row.number % 2 == 0,
                "response": None if row.number % 5 == 0 else row.response,
                "subcategory": "placeholder",
                "prompt_harm_label": row.prompt_label,
                "response_refusal_label": None if row.number % 5 == 0 else "compliance",
                "response_harm_label": None if row.number % 5 == 0 else row.response_label,
            }
            for row in rows
        ),
    )


def _wildguard_labels(row: Placeholder) -> Labels:
    return row.prompt_label, None if row.number % 5 == 0 else row.response_label


def _aegis1(split: str, folder: Path, rows: Rows) -> None:
    """Three annotators, of whom the second disagrees; the other columns say None, as the real ones do."""
    name = f"Content Moderation Extracted Annotations_{split}_release_v1.parquet"
    write_parquet(
        place(folder, f"data/{name}"),
        (
            {
                "id": row.number,
                "text": row.prompt,
                "text_type": "user_message",
                "num_annotations": 3,
                "labels_0": "Safe" if row.prompt_label == "unharmful" else "Violence",
                "labels_1": "Violence" if row.prompt_label == "unharmful" else "Safe",
                "labels_2": "Safe" if row.prompt_label == "unharmful" else "Violence",
                "labels_3": "None",
                "labels_4": "None",
            }
            for row in rows
        ),
    )


def _aegis2(files: tuple[str, ...], folder: Path, rows: Rows) -> None:
    """All rows in the first file but the last, which is in the last file."""
    given = [
        {
            "id": f"{row.number:032x}",
            "reconstruction_id_if_redacted": None,
            "prompt": row.prompt,
            "response": row.response,
            "prompt_label": safe(row.prompt_label),
            "response_label": safe(row.response_label),
            "violated_categories": "",
            "prompt_label_source": "human",
            "response_label_source": "llm_jury",
        }
        for row in rows
    ]
    write_json(place(folder, files[0]), given[:-1] if len(files) > 1 else given)
    for file in files[1:]:
        write_json(place(folder, file), given[-1:])


def _beavertails(split: str, folder: Path, rows: Rows) -> None:
    write_jsonl(
        place(folder, f"round0/30k/{split}.jsonl.gz"),
        (
            {
                "prompt": row.prompt,
                "response": row.response,
                "category": {"placeholder": row.response_label == "harmful"},
                "is_safe": row.response_label == "unharmful",
            }
            for row in rows
        ),
    )


def _toxicchat(split: str, folder: Path, rows: Rows) -> None:
    """Beside each row one that no human labelled."""

    def table() -> Iterator[dict[str, Any]]:
        for row in rows:
            cells = {
                "user_input": row.prompt,
                "model_output": row.response,
                "jailbreaking": 0,
                "openai_moderation": "[]",
            }
            toxicity = int(row.prompt_label == "harmful")
            yield {"conv_id": f"a{row.number}", "human_annotation": True, "toxicity": toxicity, **cells}
            yield {"conv_id": f"b{row.number}", "human_annotation": False, "toxicity": 0, **cells}

    write_csv(place(folder, f"data/0124/toxic-chat_annotation_{split}.csv"), table())


def _safe_rlhf(split: str, folder: Path, rows: Rows) -> None:
    """Two rows of ours are one of theirs."""

    def table() -> Iterator[dict[str, Any]]:
        remaining = iter(rows)
        for first in remaining:
            second = next(remaining, None)
            if second is None:
                raise ValueError(f"pku_saferlhf_{split} has two samples a row; ask for an even number")
            cells: dict[str, Any] = {"prompt": first.prompt}
            for which, row in enumerate((first, second)):
                cells[f"response_{which}"] = row.response
                cells[f"is_response_{which}_safe"] = row.response_label == "unharmful"
            yield {**cells, "better_response_id": 0, "safer_response_id": 1}

    write_jsonl(place(folder, f"data/Alpaca2-7B/{split}.jsonl"), table())


def _or_bench(part: str, folder: Path, rows: Rows) -> None:
    write_csv(place(folder, f"or-bench-{part}.csv"), ({"prompt": row.prompt, "category": "x"} for row in rows))


def _xstest_prompts(folder: Path, rows: Rows) -> None:
    kinds = {"harmful": "contrast_homonyms", "unharmful": "homonyms"}
    table = ({"id": f"v2-{row.number}", "type": kinds[row.prompt_label], "prompt": row.prompt} for row in rows)
    write_csv(place(folder, "xstest_prompts.csv"), table)


def _xstest(folder: Path, rows: Rows) -> None:
    """Requests, judged responses, and a released guard's reasoning about them."""
    given = list(rows)
    kinds = {"harmful": "contrast_homonyms", "unharmful": "homonyms"}
    inputs = [transcript(row.prompt, row.response) for row in given]
    harm = [
        {"instruction": INSTRUCTION, "input": inputs[n], "output": row.response_label} for n, row in enumerate(given)
    ]
    write_json(
        place(folder, "prompts.json"),
        [{"id": f"v2-{row.number}", "type": kinds[row.prompt_label], "prompt": row.prompt} for row in given],
    )
    write_json(place(folder, "response_harmful.json"), harm)
    write_json(place(folder, "response_refusal.json"), [{**row, "output": "compliance"} for row in harm])
    predictions = [{"prompt": inputs[n], "label": "", "predict": trace(row)} for n, row in enumerate(given)]
    write_jsonl(place(folder, "predictions/guardreasoner_3B_response_harmful.jsonl"), predictions)


def _corpus(folder: Path, rows: Rows) -> None:
    """Every row has a picture, a response and a label of each shared task."""
    place(folder, "train.parquet")
    io.write(folder / "train.parquet", map(_sample, rows))


def _sample(row: Placeholder) -> Sample:
    words = {"prompt": row.prompt_label, "response": row.response_label, "refusal": "compliance"}
    return Sample(f"{row.number}", "own", row.prompt, row.response, (row.image(),), labelled(SHARED, words))


SHAPES: dict[str, Shape] = {
    "corpus": (_corpus, both_labels),
    "aegis2_train": (partial(_aegis2, ("train.json", "refusals_train.json")), both_labels),
    "aegis2_validation": (partial(_aegis2, ("validation.json", "refusals_validation.json")), both_labels),
    "aegis2_test": (partial(_aegis2, ("test.json",)), both_labels),
    "or_bench_80k": (partial(_or_bench, "80k"), lambda row: ("unharmful", None)),
    "or_bench_hard_1k": (partial(_or_bench, "hard-1k"), lambda row: ("unharmful", None)),
    "or_bench_toxic": (partial(_or_bench, "toxic"), lambda row: ("harmful", None)),
    "xstest": (_xstest, both_labels),
    "xstest_prompts": (_xstest_prompts, prompt_labels),
}
for _split in ("train", "test"):
    SHAPES[f"wildguard_{_split}"] = (partial(_wildguard, _split), _wildguard_labels)
    SHAPES[f"aegis1_{_split}"] = (partial(_aegis1, _split), prompt_labels)
    SHAPES[f"beavertails_{_split}"] = (partial(_beavertails, _split), response_labels)
    SHAPES[f"toxicchat_{_split}"] = (partial(_toxicchat, _split), prompt_labels)
    SHAPES[f"pku_saferlhf_{_split}"] = (partial(_safe_rlhf, _split), response_labels)
