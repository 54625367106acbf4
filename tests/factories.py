"""Objects that several tests build: samples, answers in the dialect's words, and a whole synthetic run folder."""

import io as bytes_io
import json
import math
import random
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.evaluation.answers import write_answers
from gr_vl.schema import Answer, Label, Sample, Task
from gr_vl.stages.data import count

HARMFUL, UNHARMFUL = Label.HARMFUL, Label.UNHARMFUL
HOSTILE = '<script>alert("x")</script><img src=x onerror=alert(1)>'


def facts_of(dialect: str) -> dict[str, Any]:
    """What a run.json, a manifest and an exported folder say of guards of that dialect."""
    return {"guard": dialects.spec(dialect).to_json()}


def make_sample(
    id: str = "a", prompt_label: Label | None = HARMFUL, response_label: Label | None = None, **fields: Any
) -> Sample:
    """A text sample; it has a response exactly if it has a response label, unless `fields` say otherwise."""
    labels = {Task.PROMPT: prompt_label, Task.RESPONSE: response_label}
    known = {task: label for task, label in labels.items() if label is not None}
    response = None if response_label is None else "It is that."
    defaults = {"source": "demo", "prompt": "What is it?", "response": response}
    return Sample(id=id, labels=known, **(defaults | fields))


REASONING = "# Task 1\nI look at it.\n# Task 2\nI look at that."


def make_text(prompt: Label, response: Label = UNHARMFUL, reasoning: str = REASONING) -> str:
    """A well-formed answer."""
    return f"<think>\n{reasoning}\n</think>\n<result>\nAnswers:\nRequest: {prompt}\nResponse: {response}\n</result>"


def make_answer(id: str = "a", text: str = "", tokens: int = 10, *, index: int = 0, finished: bool = True) -> Answer:
    return Answer(id, index, text, tokens, reasoning_tokens=tokens - 2, finished=finished)


def make_png(seed: int = 0, size: tuple[int, int] = (84, 84)) -> bytes:
    """A picture with a coloured shape."""
    image = Image.new("RGB", size, "#f4f1ea")
    box = (size[0] // 5, size[1] // 5, 4 * size[0] // 5, 4 * size[1] // 5)
    draw = ImageDraw.Draw(image)
    (draw.ellipse if seed % 2 else draw.rectangle)(box, fill=("#b5432e", "#33658a", "#5f8a3a")[seed % 3])
    buffer = bytes_io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def make_corpus(n: int, seed: int = 0) -> list[Sample]:
    """Samples of every modality and class."""
    draw = random.Random(seed)
    samples = []
    for i in range(n):
        kind = i % 3
        prompt = draw.choice((HARMFUL, UNHARMFUL))
        response = draw.choice((HARMFUL, UNHARMFUL)) if kind != 1 and draw.random() < 0.6 else None
        fields = {
            "source": ("demo_text", "demo_image", "demo_pair")[kind],
            "prompt": "" if kind == 1 else f"Tell me about the {draw.choice(('blue', 'grey', 'old'))} tower, case {i}.",
            "images": () if kind == 0 else (make_png(i),),
            "reasoning": "The sign is a forbidden one.",
        }
        samples.append(make_sample(f"sample-{i:04d}", prompt, response, **fields))
    return samples


def answer_like_a_guard(samples: Iterable[Sample], skill: float, length: int, seed: int) -> list[Answer]:
    """Answers that are right with probability `skill`, now and then unparsable."""
    draw = random.Random(seed)
    answers = []
    for sample in samples:
        said = {task: label if draw.random() < skill else task.other(label) for task, label in sample.labels.items()}
        reasoning = " ".join(["Step: the request shows a sign, and the sign decides."] * draw.randint(1, 4))
        text = make_text(said[Task.PROMPT], said.get(Task.RESPONSE, UNHARMFUL), reasoning)
        broken = draw.random() < 0.2 * (1 - skill)
        tokens = length + draw.randint(-8, 8)
        answers.append(make_answer(sample.id, text[: len(text) // 2] if broken else text, tokens, finished=not broken))
    return answers


def make_run(path: Path, *, n: int = 60, steps: int = 60) -> Path:
    """A complete run folder whose first test sample and its answers are hostile."""
    test = make_corpus(n, seed=1)
    test[0] = make_sample(test[0].id, HARMFUL, HARMFUL, prompt=HOSTILE, source=HOSTILE, response=HOSTILE)
    corpora = {"data/train": make_corpus(2 * n), "data/validation": make_corpus(n // 2, 2), "data/test": test}
    corpora |= {"mine/hard": make_corpus(n // 2, 3), "concat/train": make_corpus(n, 4)}
    for name, samples in corpora.items():
        io.write(path / f"{name}.parquet", samples)
    for index, (model, skill, length) in enumerate(
        (("base", 0.45, 90), ("sft", 0.8, 62), ("rl", 0.93, 58), ("rl_eco", 0.91, 49))
    ):
        answers = answer_like_a_guard(test, skill, length, index)
        answers[0] = make_answer(test[0].id, make_text(UNHARMFUL, UNHARMFUL, HOSTILE), 200)
        write_answers(path / "eval" / model / "test.jsonl", answers)
    _write_stages(path, n, corpora)
    _write_metrics(path, steps)
    return path


def make_model(path: Path, **config: Any) -> Path:
    """The folder of a model as far as nobody loads it: every file that one needs, and a weight of 4 bytes."""
    path.mkdir(parents=True, exist_ok=True)
    write_json(path / "config.json", {"model_type": "llama", "max_position_embeddings": 32_768} | config)
    write_json(path / "tokenizer.json", {"model": {"type": "BPE"}})
    write_json(path / "tokenizer_config.json", {})
    head = json.dumps({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    (path / "model.safetensors").write_bytes(struct.pack("<Q", len(head)) + head + bytes(4))
    return path


def write_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


NAMES = ("data", "base", "sft", "mine", "concat", "rl", "rl_eco", "eval")
EXPECTED = {
    "stages": {name: name.removesuffix("_eco") for name in NAMES},
    "models": {name: name for name in ("base", "sft", "rl", "rl_eco")},
}
"""What the run.json of a tiny run of guardreasoner_vl expects."""


def _write_stages(path: Path, n: int, corpora: dict[str, list[Sample]]) -> None:
    machine = {"cpu": "8 cores", "memory_gb": 32, "gpu": "none"}
    versions = {"python": "3.11.9", "verl": "0.9.1", "torch": "2.11.0", "transformers": "5.9.0", "gr_vl": "0.1.0"}
    run = {"recipe": "guardreasoner_vl", "model": "tiny", "seed": 7, "started": "2026-01-01T00:00:00Z"} | EXPECTED
    write_json(path / "run.json", run | facts_of("guardreasoner_vl") | {"versions": versions, "machine": machine})
    for index, name in enumerate(NAMES):
        stage = {"stage": name, "kind": name.removesuffix("_eco"), "seconds": 10.0 + 20.5 * index, "peak_rss_gb": 1.25}
        own = {key.partition("/")[2]: count(samples) for key, samples in corpora.items() if key.startswith(f"{name}/")}
        stage |= {"config_hash": f"{index:064x}"[::-1], "counts": own | {"samples": n, "kept_share": 0.5}}
        write_json(path / name / "stage.json", stage)
    by_modality = {
        "text": {"0": 3, "1": 6, "2": 10, "3": 12, "4": 20},
        "image": {"0": 5, "1": 8, "2": 9, "3": 7, "4": 11},
        "text_image": {"0": 2, "1": 4, "2": 6, "3": 8, "4": 9},
    }
    histogram = {key: sum(part[key] for part in by_modality.values()) for key in "01234"}
    write_json(path / "mine" / "difficulty.json", {"k": 4, "histogram": histogram, "by_modality": by_modality})


def _write_metrics(path: Path, steps: int) -> None:
    draw = random.Random(5)
    for stage, tilt in (("sft", 1.0), ("rl", 1.0), ("rl_eco", 0.8)):
        lines = [_metrics_line(stage, step / steps, step, tilt, draw) for step in range(1, steps + 1)]
        (path / stage / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")


def _metrics_line(stage: str, share: float, step: int, tilt: float, draw: random.Random) -> str:
    noise = draw.gauss(0, 0.03)
    if stage == "sft":
        data = {"train/loss": 3 * math.exp(-4 * share) + 0.2 + noise, "train/lr": 1e-3 * (1 - share)}
        data |= {"val/loss": 3 * math.exp(-4 * share) + 0.3} if step % 10 == 0 else {}
    else:
        data = {
            "critic/score/mean": 0.5 + 0.4 * share * tilt + noise,
            "response_length/mean": 62 - 12 * share / tilt + 20 * noise,
            "actor/clip_range": 0.2 * math.exp(-4 * share),
            "actor/entropy_loss": 0.6 * math.exp(-share) * tilt,
            "actor/pg_loss": noise,
            "actor/pg_clipfrac": abs(noise),
            "reward/accuracy": 0.6 + 0.35 * share + noise,
            "reward/format": 0.95 + 0.05 * share,
        }
    return json.dumps({"step": step, "data": data}) + "\n"
