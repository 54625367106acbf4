"""RL for real from a model that reads text alone, as RSafe's base is: no processor anywhere."""

import json
from collections import Counter

import pytest
from launching import RL, do
from text_model import build

from gr_vl import dialects
from gr_vl.data import io
from gr_vl.data.demo import policies
from gr_vl.encoding import Encoder
from gr_vl.schema import Modality

pytestmark = [pytest.mark.verl, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """RL of 2 steps from a Llama of random weights."""
    folder = tmp_path_factory.mktemp("text")
    samples = [s for s in policies.build(1, {"train": 60}, 0.5)["train"] if s.modality is Modality.TEXT]
    for split in ("train", "validation"):
        io.write(folder / "data" / f"{split}.parquet", samples)
    messages = [message for sample in samples for message in dialects.get("rsafe").messages(sample)]
    build(folder / "llama", [part["text"] for message in messages for part in message["content"]], vocabulary=512)
    settings = [*RL, "trainer.total_training_steps=2", "trainer.save_freq=2"]
    do("rl", folder, f"gr_vl.start_model={folder / 'llama'}", *settings, recipe="rsafe")
    return folder


def test_rl_trains_and_its_model_is_an_ordinary_folder(run):
    from transformers import AutoModelForCausalLM

    before, after = (AutoModelForCausalLM.from_pretrained(run / name).state_dict() for name in ("llama", "rl/model"))
    assert before.keys() == after.keys()
    assert any((after[name] != weight).any() for name, weight in before.items())


def test_sampler_and_trainer_see_the_same_and_there_are_no_pictures_to_compare(run):
    rows = [json.loads(line)["data"] for line in (run / "rl" / "metrics-0.jsonl").read_text().splitlines()]
    assert [row["belief/red"] for row in rows] == [0.0, 0.0]
    assert all("belief/picture_effect" not in row for row in rows)


def test_prompts_of_rl_are_those_of_the_encoder(run):
    from transformers import AutoProcessor

    encoder = Encoder(AutoProcessor.from_pretrained(run / "rl" / "model"), dialects.get("rsafe"))
    samples = {sample.id: sample for sample in io.read(run / "data" / "train.parquet")}
    rows = [json.loads(line) for line in (run / "rl" / "rollouts" / "1.jsonl").read_text().splitlines()]
    assert set(Counter(row["prompt"]["id"] for row in rows).values()) == {4}
    for row in rows:
        ids = encoder.prompt(samples[row["prompt"]["id"]]).ids
        assert row["input"] == encoder.tokenizer.decode(ids, skip_special_tokens=True)
