"""Bounds of image pixels: one setting of a stage, the same everywhere an image becomes tokens, carried by the model."""

import io
import json

import pytest
import text_model
from omegaconf import OmegaConf
from PIL import Image

from gr_vl import compose
from gr_vl.encoding import Encoder
from gr_vl.errors import ConfigError
from gr_vl.image_pixels import ImagePixels
from gr_vl.schema import Sample

pytest.importorskip("transformers")
from gr_vl.stages import processing

SFT, RL = ImagePixels(max=589_824), ImagePixels(262_144, 4_194_304)
BASE = ImagePixels(3_136, 12_845_056)


def load(folder, bounds=ImagePixels()):  # noqa: B008 (frozen)
    return Encoder.load(folder, "guardreasoner_vl", pixels=bounds)


def sample(width, height):
    buffer = io.BytesIO()
    Image.new("L", (width, height)).save(buffer, "JPEG")
    return Sample("a", "test", "p", None, images=(buffer.getvalue(),))


@pytest.mark.parametrize(
    ("size", "base", "sft", "rl"),
    [
        # A token is 28 x 28 pixels. 224 = 8 x 28; in RL it grows to 19 x 28 = 532, since 512 x 512 are asked for.
        pytest.param((224, 224), 64, 64, 361, id="small: RL alone makes it larger"),
        pytest.param((512, 512), 324, 324, 361, id="RL's least size: 512 rounds to 18 x 28, too little, up to 19 x 28"),
        pytest.param((1024, 1024), 1369, 729, 1369, id="a megapixel: 37 x 37 tokens, in SFT 27 x 27"),
        pytest.param((1600, 1200), 2451, 713, 2451, id="two megapixels: 57 x 43, in SFT 31 x 23"),
        pytest.param((4032, 3024), 15552, 713, 5292, id="a photograph: 144 x 108, in SFT 31 x 23, in RL 84 x 63"),
    ],
)
def test_an_image_takes_the_tokens_that_its_bounds_allow(tiny, size, base, sft, rl):
    # Width by height in tokens, from the published bounds; the tiny model has Qwen2.5-VL's patches.
    asked = sample(*size)
    found = [load(tiny, bounds).visual_tokens(asked) for bounds in (BASE, SFT, RL)]
    assert found == [base, sft, rl]


@pytest.mark.parametrize("bounds", [(None, None), (None, 1_568), (20_000, 30_000)], ids=["own", "smaller", "larger"])
def test_the_length_check_counts_what_the_prompt_holds(tiny, bounds):
    encoder = load(tiny, ImagePixels(*bounds))
    prompt = encoder.prompt(sample(60, 90))
    assert encoder.lengths([sample(60, 90)], targets=False) == [len(prompt.ids)]
    rows, columns = prompt.features["image_grid_thw"][0, 1:].tolist()
    assert rows * columns // 4 == encoder.visual_tokens(sample(60, 90))
    # The tiny model's own: 84 x 84.
    assert (bounds[0] or 784) <= rows * columns * 14 * 14 <= (bounds[1] or 7_056)


def prepared(kind, model, folder, *overrides):
    stage = compose.stage("guardreasoner_vl", kind, ["model=tiny", f"run={folder}", *overrides])
    block = stage.config.model if kind == "sft" else stage.config.actor_rollout_ref.model
    block.path = str(model)
    return processing.prepare(stage.config, block, folder / kind), stage.config, block


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sft", "mine", "rl", "eval"])
def test_every_process_of_a_stage_gets_the_same_bounds(tiny, tmp_path, kind):
    bounds = ("gr_vl.image_pixels.min=1568", "gr_vl.image_pixels.max=3136")
    encoder, config, block = prepared(kind, tiny, tmp_path, *bounds)
    assert block.tokenizer_path == str(tmp_path / kind / "processor")
    assert (tmp_path / kind / "processor" / "config.json").is_file()
    wanted = {"shortest_edge": 1_568, "longest_edge": 3_136}
    for found in (encoder, load(block.tokenizer_path)):
        assert {name: found.processor.image_processor.size[name] for name in wanted} == wanted
    assert load(block.tokenizer_path).visual_tokens(sample(84, 84)) == 4
    if kind != "sft":
        given = OmegaConf.to_container(config.actor_rollout_ref.rollout.engine_kwargs.vllm)
        assert given == {"mm_processor_kwargs": {"min_pixels": 1_568, "max_pixels": 3_136}}


@pytest.mark.slow
def test_without_bounds_the_model_folder_is_what_counts(tiny, tmp_path):
    encoder, config, block = prepared("rl", tiny, tmp_path)
    size = encoder.processor.image_processor.size
    assert (size.shortest_edge, size.longest_edge) == (784, 7_056)
    assert block.tokenizer_path is None
    assert config.actor_rollout_ref.rollout.engine_kwargs.vllm == {}
    assert not (tmp_path / "rl").exists()


def test_a_model_that_reads_text_alone_has_no_use_for_bounds(tmp_path):
    encoder = Encoder.load(text_model.build(tmp_path), "guardreasoner", pixels=RL)
    assert not encoder.sees
    assert encoder.prompt(Sample("a", "test", "p", None)).ids


def test_a_saved_processor_brings_its_bounds_to_whoever_loads_it(tiny, tmp_path):
    load(tiny, ImagePixels(max=1_568)).processor.save_pretrained(tmp_path)
    assert load(tmp_path).visual_tokens(sample(84, 84)) == 1
    assert load(tmp_path, ImagePixels(max=7_056)).visual_tokens(sample(84, 84)) == 9


def test_a_bound_that_contradicts_the_folders_own_is_refused(tiny):
    with pytest.raises(ConfigError, match=r"min=8,000 exceeds max=7,056 \(null is the bound of .*\); set both"):
        load(tiny, ImagePixels(min=8_000))


def test_an_image_processor_of_another_kind_is_refused_by_name(tiny, tmp_path):
    load(tiny).processor.save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    config = json.loads(path.read_text())
    config["image_processor"] = {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 224}}
    path.write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"CLIPImageProcessor.* of .* has no bounds in pixels; use null for both"):
        load(tmp_path, RL)
