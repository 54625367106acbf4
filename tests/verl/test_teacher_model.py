"""The teacher's protocol against a server that runs a real model: untrained, so that every reply ends in quarantine."""

import base64
import io
import json
import threading
from dataclasses import replace

import pytest
from endpoint import MODEL, Say, serving
from PIL import Image

pytest.importorskip("openai")

from gr_vl.data import io as corpora
from gr_vl.teacher import process
from gr_vl.teacher.settings import Settings

pytestmark = pytest.mark.verl
TOKENS = 24


@pytest.fixture
def teacher(tiny):
    """A function that answers a request of the protocol with the tiny model."""
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(tiny)
    model = AutoModelForImageTextToText.from_pretrained(tiny).eval()
    lock = threading.Lock()

    def picture(part):
        kind, data = part["image_url"]["url"].split(",", 1)
        assert kind == "data:image/png;base64"
        return Image.open(io.BytesIO(base64.b64decode(data)))

    def answer(request, _nth):
        turns = request["messages"]
        parts = [part for turn in turns if not isinstance(turn["content"], str) for part in turn["content"]]
        images = [picture(part) for part in parts if part["type"] == "image_url"]
        text = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        inputs = processor(text=[text], images=images or None, return_tensors="pt")
        assert ("pixel_values" in inputs) == bool(images)
        with lock, torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=request["max_tokens"], do_sample=False)
        made = ids[0, inputs["input_ids"].shape[1] :]
        stopped = made[-1] == model.generation_config.eos_token_id
        said = processor.tokenizer.decode(made, skip_special_tokens=True)
        return Say(said, "stop" if stopped else "length", (inputs["input_ids"].shape[1], len(made)))

    return answer


def test_every_reply_of_a_real_model_is_read_judged_and_paid_for(tmp_path, monkeypatch, corpus, teacher):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    samples = [replace(sample, reasoning=None, taught=None) for sample in corpus[:6]]
    corpora.write(tmp_path / "in.parquet", samples)
    paid = []

    def answer(request, nth):
        said = teacher(request, nth)
        paid.append(sum(said.usage))
        return said

    with serving(answer) as server:
        paths = tmp_path / "in.parquet", tmp_path / "out.parquet"
        settings = Settings(*paths, MODEL, server.url, "guardreasoner_vl", attempts=2, max_tokens=TOKENS)
        expected = process.estimate(settings)
        states = list(process.states(settings))
    rows = [json.loads(line) for line in settings.quarantine.read_text().splitlines()]
    assert any(sample.images for sample in samples)
    assert [row["id"] for row in rows] == [sample.id for sample in samples]
    assert {row["reason"] for row in rows} <= {"unfinished", "wrong_form"}
    assert all(len(row["refusals"]) == 2 for row in rows)
    assert corpora.read(settings.out) == []
    summary = json.loads(settings.summary.read_text())
    assert (summary["calls"], summary["tokens"], summary["quarantined"]) == (12, sum(paid), 6)
    assert set(server.seen.values()) == {1}
    assert (states[-1].done, states[-1].total) == (6, 6)
    assert expected.samples == 6
    assert expected.images == sum(len(sample.images) for sample in samples)
