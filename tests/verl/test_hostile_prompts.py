"""Hostile text through verl's own tokenisation of prompts, and through its reading of answers."""

from types import SimpleNamespace

import pytest
from factories import UNHARMFUL, make_png, make_sample
from hostile import USER_TEXTS

from gr_vl.data import io

pytestmark = pytest.mark.verl


@pytest.mark.parametrize("images", [(), (make_png(),)], ids=["alone", "beside a picture"])
def test_sft_rl_mining_and_evaluation_see_the_same_tokens(tiny, encoder, tmp_path, images):
    pytest.importorskip("verl")
    from omegaconf import OmegaConf
    from verl.utils.tokenizer.continuous_token_wiring import create_continuous_token_builder

    from gr_vl.verl_ext.datasets import RLData, SFTData

    samples = [
        make_sample(kind, response_label=UNHARMFUL, prompt=text, response=text, reasoning="It is.", images=images)
        for kind, text in USER_TEXTS.items()
    ]
    path, processor = tmp_path / "corpus.parquet", encoder.processor
    io.write(path, samples)
    config = OmegaConf.create({"custom_cls": {"dialect": "guardreasoner_vl"}})
    taught = SFTData(str(path), processor.tokenizer, config, processor)
    rolled_out = RLData(str(path), processor.tokenizer, config, processor)
    builder = create_continuous_token_builder(processor.tokenizer, hf_model_type="qwen2_5_vl", processor=processor)
    for index, sample in enumerate(io.read(path)):
        mined = encoder.prompt(sample)
        messages = rolled_out[index]["raw_prompt"]
        assert builder.build_initial_tokens(messages, images=mined.images or None) == mined.ids
        assert taught[index]["input_ids"][: len(mined.ids)].tolist() == mined.ids


def test_pictures_without_text_is_still_needed(encoder):
    pytest.importorskip("verl")
    import torch
    from verl.experimental.agent_loop.agent_loop import AgentLoopWorker
    from verl.trainer.ppo.v1.agent_loop_tq import AgentLoopWorkerTQ

    from gr_vl.verl_ext import patches

    patches.pictures_without_text()
    # What Ray starts is a class of its own, which copies methods when it is made.
    started = AgentLoopWorkerTQ.__ray_metadata__.modified_class
    assert started._compute_multi_modal_inputs is AgentLoopWorker._compute_multi_modal_inputs
    processor, tokenizer = encoder.processor, encoder.processor.tokenizer
    worker = object.__new__(AgentLoopWorker)
    worker.processor, worker.tokenizer = processor, tokenizer
    prompt = encoder.prompt(make_sample(images=(make_png(),)))
    output = SimpleNamespace(multi_modal_data={"images": prompt.images}, mm_processor_kwargs={})
    spelled = tokenizer("<|image_pad|>" * 2, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    ids = torch.tensor([prompt.ids + spelled])
    with pytest.raises(IndexError):
        AgentLoopWorker._compute_multi_modal_inputs.gr_vl_original(worker, output, ids)
    for shaped in (ids, ids[0]):
        features = worker._compute_multi_modal_inputs(output, shaped)
        assert torch.equal(features["pixel_values"], prompt.features["pixel_values"])
        assert torch.equal(features["image_grid_thw"], prompt.features["image_grid_thw"])
