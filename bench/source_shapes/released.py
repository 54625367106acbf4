"""What GuardReasoner and GuardReasoner-VL released, and conversations of one's own."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

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
    trace,
    transcript,
    write_json,
    write_jsonl,
    write_parquet,
)


def _answers(request: str | None, response: str | None) -> str:
    return f"Answers: \nRequest: {request}\nCompletion: None\nResponse: {response}\n"


def _text_benchmark(file: str, form: Callable[[Placeholder], tuple[str | None, str]], folder: Path, rows: Rows) -> None:
    def table() -> Iterator[dict[str, Any]]:
        for row in rows:
            response, output = form(row)
            yield {"instruction": INSTRUCTION, "input": transcript(row.prompt, response), "output": output}

    write_json(place(folder, f"data/benchmark/{file}.json"), table())


def _request_word(row: Placeholder) -> tuple[str | None, str]:
    return None, row.prompt_label


def _response_word(row: Placeholder) -> tuple[str | None, str]:
    return row.response, row.response_label


def _refusal_word(row: Placeholder) -> tuple[str | None, str]:
    return row.response, "refusal" if row.number % 2 else "compliance"


def _response_lines(row: Placeholder) -> tuple[str | None, str]:
    return row.response, _answers(None, row.response_label)


def _every_line(row: Placeholder) -> tuple[str | None, str]:
    lines = _answers(row.prompt_label, row.response_label)
    return row.response, lines.replace("Completion: None", f"Completion: {_refusal_word(row)[1]}")


def _guardreasoner_train(folder: Path, rows: Rows) -> None:
    table = (
        {"instruction": INSTRUCTION, "input": transcript(row.prompt, row.response), "output": trace(row)}
        for row in rows
    )
    write_parquet(place(folder, "data/WildGuardTrainR-00000-of-00001.parquet"), table)


def _messages(kind: str, row: Placeholder) -> list[dict[str, str]]:
    """A row of GuardReasoner-VLTrain; image rows have neither text nor response."""
    prompt = {"text": row.prompt, "image": "<image>", "text_image": f"<image>\n{row.prompt}"}[kind]
    response = None if kind == "image" else row.response
    judged = "unharmful" if kind == "image" else row.response_label
    target = (
        f"<think>\n# Task 1\n{row.prompt_label}, plainly.\n# Task 2\n{judged}.\n</think>\n"
        f"<result>\nAnswers: \nRequest: {row.prompt_label}\nResponse: {judged}\n</result>"
    )
    return [
        {"role": "system", "content": INSTRUCTION},
        {"role": "user", "content": transcript(prompt, response)},
        {"role": "assistant", "content": target},
    ]


def _vl_train(kind: str, folder: Path, rows: Rows) -> None:
    """Text rows have an empty list of images, others an embedded one."""
    none = pa.array([], pa.struct([("bytes", pa.binary()), ("path", pa.string())])).to_pylist()
    table = ({"messages": _messages(kind, row), "images": none if kind == "text" else [row.embedded()]} for row in rows)
    write_parquet(place(folder, f"data/{kind}-00000-of-00001.parquet"), table)


def _vl_test(name: str, kind: str, folder: Path, rows: Rows) -> None:
    """Pictures in the order of their names, rows that state other names for those of SPA-VL."""

    def table() -> Iterator[dict[str, Any]]:
        for row in rows:
            place(folder, f"test/{name}/{row.number:05d}.png").write_bytes(row.image())
            _, user, assistant = _messages(kind, row)
            said = assistant["content"].partition("<result>\n")[2].removesuffix("</result>")
            told = {"role": "user", "content": f"{INSTRUCTION}\n\n{user['content'].rstrip()}\n"}
            yield {
                "messages": [told, {"role": "assistant", "content": said}],
                "images": [f"./{name}/{row.number:05d}.png" if kind == "image" else f"./{name}/{row.number}.jpg"],
            }

    write_json(place(folder, f"data/benchmark/{name}.json"), table())


def _openai(folder: Path, rows: Rows) -> None:
    """Text, an image file, and both, in turn."""

    def table() -> Iterator[dict[str, Any]]:
        for row in rows:
            kind = row.number % 3
            prompt = row.prompt if kind != 1 else ""
            turns = [{"role": "user", "content": prompt}, {"role": "assistant", "content": row.response}]
            if kind:
                place(folder, f"pictures/{row.number}.png").write_bytes(row.image())
            images = [f"pictures/{row.number}.png"] if kind else []
            labels = {"prompt_label": row.prompt_label, "response_label": row.response_label}
            yield {"id": f"mine-{row.number}", "messages": turns, "images": images, **labels}

    write_jsonl(place(folder, "mine.jsonl"), table())


def _sharegpt(folder: Path, rows: Rows) -> None:
    def table() -> Iterator[dict[str, Any]]:
        for row in rows:
            place(folder, f"pictures/{row.number}.png").write_bytes(row.image())
            turns = [{"from": "human", "value": f"<image>\n{row.prompt}"}, {"from": "gpt", "value": row.response}]
            labels = {"prompt_label": row.prompt_label, "response_label": row.response_label}
            yield {"conversations": turns, "image": f"pictures/{row.number}.png", **labels}

    write_jsonl(place(folder, "mine.jsonl"), table())


_FORMS: dict[str, tuple[str, Callable[[Placeholder], tuple[str | None, str]], Callable[[Placeholder], Labels]]] = {
    "ToxicChat": ("0_8_toxic_chat", _request_word, prompt_labels),
    "OpenAIModeration": ("0_2_OpenAIModeration", _request_word, prompt_labels),
    "AegisSafetyTest": ("0_1_AegisSafetyTest", _request_word, prompt_labels),
    "SimpleSafetyTests": ("0_0_SimpleSafetyTests", _request_word, prompt_labels),
    "HarmBenchPrompt": ("0_3_harmbench_prompt", _request_word, prompt_labels),
    "WildGuardTest": ("0_4_wild_guard_test", _every_line, both_labels),
    "HarmBenchResponse": ("0_5_harmbench_response", _response_word, response_labels),
    "SafeRLHF": ("0_9_safe_rlhf", _response_lines, response_labels),
    "BeaverTails": ("0_A_beaver_tails", _response_lines, response_labels),
    "XSTestResponseHarmful": ("0_6_xstest_response_harmful", _response_word, response_labels),
    "XSTestResponseRefusal": ("0_7_xstest_response_refusal", _refusal_word, lambda row: (None, None)),
}
SHAPES: dict[str, Shape] = {
    "guardreasoner_train": (_guardreasoner_train, both_labels),
    "guardreasoner_train_refusal": (_guardreasoner_train, both_labels),
    "guardreasoner_vl_train_text": (partial(_vl_train, "text"), both_labels),
    "guardreasoner_vl_train_image": (partial(_vl_train, "image"), prompt_labels),
    "guardreasoner_vl_train_text_image": (partial(_vl_train, "text_image"), both_labels),
    "HarmImageTest": (partial(_vl_test, "HarmImageTest", "image"), prompt_labels),
    "SPA-VL-Eval": (partial(_vl_test, "SPA_VL_Eval", "text_image"), both_labels),
    "openai_messages": (_openai, both_labels),
    "sharegpt": (_sharegpt, both_labels),
    **{name: (partial(_text_benchmark, file, form), labels) for name, (file, form, labels) in _FORMS.items()},
}
