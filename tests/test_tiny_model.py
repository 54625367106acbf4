"""The tiny model is an ordinary Qwen2.5-VL folder: the Auto classes load it, and it reads an image and a text."""

from dataclasses import replace
from io import BytesIO

import pytest
from PIL import Image

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from gr_vl import compose, dialects, tiny_model  # noqa: E402
from gr_vl.data import demo, io  # noqa: E402
from gr_vl.stages import base  # noqa: E402

DIALECT = dialects.get("guardreasoner_vl")
SAMPLES = demo.build(0, {"train": 120})["train"]


def texts():
    for sample in SAMPLES:
        yield from (part["text"] for turn in DIALECT.messages(sample) for part in turn["content"] if "text" in part)
        yield DIALECT.target(sample)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny")
    tiny_model.build(texts(), path, seed=0)
    return path


@pytest.fixture(scope="module")
def processor(folder):
    return transformers.AutoProcessor.from_pretrained(folder)


def test_auto_classes_load_it_and_verl_recognises_its_processor(folder, processor):
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    assert type(model).__name__ == "Qwen2_5_VLForConditionalGeneration"
    assert "Qwen2VLImageProcessor" in type(processor.image_processor).__name__
    assert model.dtype is torch.float32
    assert 0.5e6 < sum(weight.numel() for weight in model.parameters()) < 3e6
    assert len(tokenizer) == model.config.text_config.vocab_size <= tiny_model.VOCABULARY
    assert tokenizer.convert_ids_to_tokens(model.generation_config.eos_token_id) == "<|im_end|>" == tokenizer.eos_token
    assert tokenizer.convert_ids_to_tokens(model.generation_config.pad_token_id) == "<|endoftext|>"


def test_forward_of_an_image_and_a_text(folder, processor):
    sample = next(sample for sample in SAMPLES if sample.images and sample.prompt)
    prompt = processor.apply_chat_template(DIALECT.messages(sample), tokenize=False, add_generation_prompt=True)
    batch = processor(text=[prompt], images=[Image.open(BytesIO(sample.images[0]))], return_tensors="pt")
    model = transformers.AutoModelForImageTextToText.from_pretrained(folder)
    logits = model(**batch).logits
    assert batch["image_grid_thw"].tolist() == [[1, 6, 6]]
    assert (batch["input_ids"] == model.config.image_token_id).sum() == 9
    assert batch["input_ids"].shape[1] <= 130
    assert torch.isfinite(logits).all()


def test_chat_template_takes_strings_and_parts(processor):
    parts = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "a"}]}]
    assert processor.apply_chat_template(parts, tokenize=False, add_generation_prompt=True) == (
        "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>a<|im_end|>\n<|im_start|>assistant\n"
    )
    text = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    assert processor.apply_chat_template(text, tokenize=False) == (
        "<|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"
    )


def test_tags_are_one_token_each_and_decoding_keeps_them(processor):
    tokenizer = processor.tokenizer
    target = DIALECT.target(SAMPLES[0])
    ids = tokenizer(target + "<|im_end|>").input_ids
    assert tokenizer.decode(ids, skip_special_tokens=True) == target
    assert len(ids) <= 110
    for tag in tiny_model.GRAMMAR_TOKENS:
        assert ids.count(tokenizer.convert_tokens_to_ids(tag)) == 1


def test_same_texts_and_seed_same_files(folder, tmp_path):
    tiny_model.build(texts(), tmp_path, seed=0)
    for name in ("tokenizer.json", "model.safetensors", "config.json"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def query_weights_of(path):
    state = transformers.AutoModelForImageTextToText.from_pretrained(path).state_dict()
    return {name: weight for name, weight in state.items() if "language_model" in name and "q_proj.weight" in name}


@pytest.mark.parametrize("recipe", ["guardreasoner", "rsafe"])
def test_the_stage_builds_what_its_recipe_says(recipe, tmp_path):
    stage = compose.stage(recipe, "base", ["model=tiny", f"run={tmp_path}"])
    io.write(tmp_path / "data" / "train.parquet", [replace(SAMPLES[0], reasoning=None)])
    base.run(stage.config)
    weights = list(query_weights_of(tmp_path / "base" / "model").values())
    # Two heads of a group ask alike only where attention starts by matching.
    assert [torch.equal(weight[:32], weight[32:64]) for weight in weights] == [False] + [recipe == "rsafe"] * 3


def test_matching_lets_equal_tokens_attend_to_each_other(folder, tmp_path):
    tiny_model.build(texts(), tmp_path, seed=0, matching=True)
    plain, matching = (
        transformers.AutoModelForImageTextToText.from_pretrained(path).state_dict() for path in (folder, tmp_path)
    )
    changed = {name for name in plain if not torch.equal(plain[name], matching[name])}
    assert changed == {f"model.language_model.layers.{layer}.self_attn.q_proj.weight" for layer in (1, 2, 3)}
    for name in changed:
        # Four heads of 32 rows in two groups: heads 0 and 1 ask as key 0 answers, 2 and 3 as key 1.
        keys = matching[name.replace("q_proj", "k_proj")]
        assert torch.equal(matching[name], torch.cat([keys[:32], keys[:32], keys[32:], keys[32:]]))
