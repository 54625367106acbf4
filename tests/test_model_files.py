"""A folder that lacks a part of its model is refused by the name of that part, before anything is loaded."""

import json
import shutil

import pytest
from factories import make_model, write_json
from test_checks import with_settings

from gr_vl import checks, cli, limits, model_files
from gr_vl.errors import ConfigError, DataError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SHARDS = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]


def sharded(folder, *there):
    """The weights in two files, of which some are there."""
    for name in there:
        shutil.copy(folder / WEIGHTS, folder / name)
    (folder / WEIGHTS).unlink()
    write_json(folder / INDEX, {"weight_map": {"a": SHARDS[0], "b": SHARDS[1]}})


def sees(folder):
    write_json(folder / "config.json", {"vision_config": {}})


def adapter(folder):
    (folder / "config.json").rename(folder / "adapter_config.json")


def removed(name):
    return lambda folder: (folder / name).unlink()


def written(name, data):
    return lambda folder: (folder / name).write_bytes(data)


def cut(name, size):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:size])


BROKEN = {
    "no config": (removed("config.json"), "no model there (config.json is missing)"),
    "no tokenizer": (removed("tokenizer.json"), "tokenizer.json is missing"),
    "no settings of the tokenizer": (removed("tokenizer_config.json"), "tokenizer_config.json is missing"),
    "no weights": (removed(WEIGHTS), "model.safetensors is missing"),
    "no image processor": (sees, "preprocessor_config.json (or processor_config.json) is missing"),
    "weights that point": (written(WEIGHTS, POINTER), "model.safetensors: is a Git LFS pointer"),
    "a tokenizer that points": (written("tokenizer.json", POINTER), "tokenizer.json: is a Git LFS pointer"),
    "a template that points": (written("chat_template.jinja", POINTER), "chat_template.jinja: is a Git LFS pointer"),
    "empty weights": (written(WEIGHTS, b""), "model.safetensors: is empty"),
    "seven bytes of weights": (cut(WEIGHTS, 7), "model.safetensors: cut off or damaged"),
    "a head without its end": (cut(WEIGHTS, 30), "model.safetensors: cut off or damaged"),
    "weights without their end": (cut(WEIGHTS, -1), "model.safetensors: cut off or damaged"),
    "half a config": (cut("config.json", 20), "config.json: cut off or damaged (no JSON"),
    "half a tokenizer": (cut("tokenizer.json", 10), "tokenizer.json: cut off or damaged (no JSON"),
    "a config that is a list": (written("config.json", b"[]"), "config.json: holds list, not an object"),
    "a tokenizer without one": (written("tokenizer.json", b"{}"), "tokenizer.json: holds no tokenizer"),
    "one file of two": (lambda f: sharded(f, SHARDS[0]), f"{SHARDS[1]} is missing, of 2 files"),
    "an index that is cut off": (lambda f: (sharded(f, *SHARDS), cut(INDEX, 20)(f)), f"{INDEX}: cut off or damaged"),
    "an index that lists nothing": (lambda f: (sharded(f, *SHARDS), write_json(f / INDEX, {})), "lists no files"),
    "no index": (lambda f: (sharded(f, *SHARDS), removed(INDEX)(f)), f"{INDEX} is missing"),
    "another format": (lambda f: (f / WEIGHTS).rename(f / "pytorch_model.bin"), "pytorch_model.bin is not loaded"),
    "an adapter alone": (adapter, "a LoRA adapter alone; merge it"),
}


@pytest.mark.parametrize(("damage", "words"), BROKEN.values(), ids=BROKEN.keys())
def test_what_is_missing_is_named(tmp_path, damage, words):
    folder = model_files.check(make_model(tmp_path / "m"))
    damage(folder)
    with pytest.raises(DataError) as refused:
        model_files.check(folder)
    assert str(refused.value).startswith(str(folder))
    assert words in str(refused.value)


@pytest.mark.parametrize("name", ["tokenizer.json", "processor_config.json", "config.json", "tokenizer_config.json"])
def test_without_weights_the_rest_is_still_asked_for(tiny, tmp_path, name):
    folder = shutil.copytree(tiny, tmp_path / "m")
    (folder / WEIGHTS).unlink()
    assert model_files.check(folder, weights=False) == folder
    (folder / name).unlink()
    with pytest.raises(DataError, match="is missing"):
        model_files.check(folder, weights=False)


def test_a_tokenizer_of_two_files_and_weights_of_two_files_are_whole(tmp_path):
    folder = make_model(tmp_path / "m")
    sharded(folder, *SHARDS)
    (folder / "tokenizer.json").unlink()
    write_json(folder / "vocab.json", {})
    with pytest.raises(DataError, match=r"merges\.txt"):
        model_files.check(folder)
    (folder / "merges.txt").write_text("#version: 0.2\n")
    assert model_files.check(folder) == folder
    assert model_files.stored_dtype(folder) == "float32"


def test_a_file_and_a_folder_above_are_told_where_the_model_is(tmp_path):
    model = make_model(tmp_path / "rl" / "model")
    for given in (tmp_path, tmp_path / "rl"):
        with pytest.raises(DataError, match=f"name one of the models in it, as in {model}"):
            model_files.check(given)
    with pytest.raises(DataError, match="a file; name the folder"):
        model_files.check(model / "config.json")


@pytest.mark.parametrize(
    "arguments",
    [
        ("moderate", "--text", "a", "--model"),
        ("serve", "--port", "0", "--model"),
        ("export",),
    ],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize("name", ["tokenizer.json", WEIGHTS])
def test_every_command_refuses_a_pointer(tmp_path, arguments, name):
    folder = make_model(tmp_path / "m")
    (folder / name).write_bytes(POINTER)
    out = [str(tmp_path / "out")] if arguments[0] == "export" else []
    with pytest.raises(DataError, match=f"{name}: is a Git LFS pointer"):
        cli.app([*arguments, str(folder), *out], standalone_mode=False)


def test_what_a_library_says_of_a_folder_is_one_line(tiny, tmp_path):
    from gr_vl.guard.model import Guard

    for name, content in {"tokenizer.json": '{"model": {}}', "chat_template.jinja": "{% if x %}"}.items():
        folder = shutil.copytree(tiny, tmp_path / name)
        (folder / name).write_text(content)
        with pytest.raises(DataError, match=r"cannot be loaded \(.*fetch it again") as refused:
            Guard.from_pretrained(folder)
        assert "\n" not in str(refused.value)


def test_a_tokenizer_of_another_model_is_refused(tiny, tmp_path):
    from gr_vl.guard.model import Guard

    folder = shutil.copytree(tiny, tmp_path / "m")
    content = json.loads((folder / "tokenizer.json").read_text())
    content["added_tokens"].append(content["added_tokens"][-1] | {"id": 5000, "content": "<far>"})
    (folder / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(DataError, match="of its tokenizer is beyond the model's"):
        Guard.from_pretrained(folder)


@pytest.mark.parametrize("max_tokens", [0, -1, 8.5, float("nan"), float("inf"), True, 4096, 10**6], ids=str)
def test_an_answer_that_leaves_no_room_is_refused_before_the_weights_are_loaded(tiny, max_tokens):
    from gr_vl.guard.model import Guard

    with pytest.raises(ConfigError, match=f"max_tokens={max_tokens}") as refused:
        Guard.from_pretrained(tiny, max_tokens=max_tokens)
    if max_tokens == 4096:
        most = int(str(refused.value).rsplit(" ", 1)[1].replace(",", ""))
        guard = Guard.from_pretrained(tiny, device="cpu", max_tokens=most)
        assert guard.moderate("a", think=False).written.prompt_tokens + most == 4096
        with pytest.raises(ConfigError):
            Guard.from_pretrained(tiny, max_tokens=most + 1)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        pytest.param({"max_position_embeddings": 128}, 128, id="at the root"),
        pytest.param({"text_config": {"max_position_embeddings": 64}}, 64, id="of the text"),
        pytest.param({"max_position_embeddings": None}, None, id="nowhere"),
        pytest.param(
            {"max_position_embeddings": 100, "rope_scaling": {"original_max_position_embeddings": 100, "factor": 4.0}},
            400,
            id="stretched by four",
        ),
    ],
)
def test_positions_are_what_the_config_says(tmp_path, config, expected):
    assert model_files.positions(make_model(tmp_path / "m", **config)) == expected


STAGES = [
    pytest.param("sft", "model.path", "data.max_length", id="sft"),
    pytest.param("rl", "gr_vl.start_model", "data.max_prompt_length + data.max_response_length", id="rl"),
    pytest.param("mine", "gr_vl.generation.model", "actor_rollout_ref.rollout.prompt_length", id="mine"),
    pytest.param("eval", "gr_vl.eval.models.sft", "actor_rollout_ref.rollout.prompt_length", id="eval"),
]


@pytest.mark.parametrize(("name", "key", "words"), STAGES)
def test_a_stage_refuses_lengths_beyond_the_models_positions(tmp_path, name, key, words):
    """What `limits.model` is asked by each stage's check, whose corpora are not needed for it."""
    config = with_settings(name, "tiny", {key: str(make_model(tmp_path / "m"))}).config
    limits.model(config, key, True, 32_768, words)
    with pytest.raises(ConfigError, match=r"32769 tokens exceed the 32,768 positions") as refused:
        limits.model(config, key, True, 32_769, words)
    assert words in str(refused.value)


@pytest.mark.parametrize("value", [None, ""], ids=["null", "empty"])
def test_a_stage_refuses_a_model_without_a_name(value):
    with pytest.raises(ConfigError, match=r"model\.path=.* must name a model"):
        checks.check(with_settings("sft", "tiny", {"model.path": value}), files=False)


@pytest.mark.parametrize("path", ["Qwen/Qwen2.5-VL-3B-Instruct", "meta-llama/Llama-3.2-1B", "gpt2"])
def test_a_name_of_a_hub_is_no_folder(path):
    limits.model(with_settings("sft", "tiny", {"model.path": path}).config, "model.path", True)


@pytest.mark.parametrize("path", ["./m", "/m", "~/m", "a/b/c", "runs/m", "my models/m", "été/m"])
def test_any_other_name_is_a_folder(path):
    with pytest.raises(DataError, match="no model there"):
        limits.model(with_settings("sft", "tiny", {"model.path": path}).config, "model.path", True)


@pytest.mark.parametrize(
    ("name", "key"),
    [("mine", "gr_vl.generation.temperature"), ("concat", "gr_vl.concat.cache_gb"), ("rl", "gr_vl.clip.epsilon")],
)
@pytest.mark.parametrize("value", [float("nan"), float("inf")], ids=str)
def test_no_stage_takes_a_number_that_is_none(name, key, value):
    with pytest.raises(ConfigError, match=f"{key}={value} must be a finite number"):
        checks.check(with_settings(name, "tiny", {key: value}), files=False)
