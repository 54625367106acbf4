"""What is refused before anything is loaded, with key, value and a fix; and what good settings amount to."""

import copy
from functools import cache

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from factories import make_model, make_sample
from omegaconf import OmegaConf

from gr_vl import checks, compose
from gr_vl.clipping import ClipSchedule
from gr_vl.data import io
from gr_vl.errors import ConfigError, DataError, GuardError
from rewards import SafetyReward, preset_names

SFT_BATCH, MINI = "data.train_batch_size", "actor_rollout_ref.actor.ppo_mini_batch_size"
MICRO = "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu"
LOG_PROB = "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu"
ANSWERS, ROOM = "actor_rollout_ref.rollout.n", "actor_rollout_ref.rollout.max_model_len"
MODE, UPDATES = "trainer.v1.trainer_mode", "trainer.v1.separate_async.parameter_sync_step"
NODES, ENGINE = "actor_rollout_ref.rollout.nnodes", "actor_rollout_ref.rollout.checkpoint_engine.backend"
OFFLOAD = "actor_rollout_ref.actor.fsdp_config.param_offload"
SAMPLER = "actor_rollout_ref.rollout.name"
SEPARATE_HERE = {SAMPLER: "transformers", MODE: "gr_vl_separate_async"}
SEPARATE = {MODE: "gr_vl_separate_async", SAMPLER: "vllm"}
PRICE = "gr_vl.reward.terms.token_price"
TENSOR = "actor_rollout_ref.rollout.tensor_model_parallel_size"


# The arithmetic below is done for these, whatever the overlays are tuned to.
PREMISES = {
    "sft": {SFT_BATCH: 32, "data.micro_batch_size_per_gpu": 32},
    "rl": {SFT_BATCH: 16, MINI: 4, MICRO: 32, ANSWERS: 8, LOG_PROB: 64}
    | {"data.max_prompt_length": 192, "data.max_response_length": 128, ROOM: 320}
    | {"algorithm.rollout_correction.bypass_mode": False}
    | {"gr_vl.clip.epsilon": 0.2, "gr_vl.clip.final": 0.0},
}
PREMISES["mine"] = PREMISES["eval"] = {
    "actor_rollout_ref.rollout.prompt_length": 192,
    "actor_rollout_ref.rollout.response_length": 128,
    ROOM: 320,
}
PREMISES["rl_eco"] = PREMISES["rl"]


@cache
def composed(name, model):
    return compose.stage("guardreasoner_vl", name, [f"model={model}"])


def with_settings(name, model, settings):
    stage = copy.deepcopy(composed(name, model))
    premises = PREMISES.get(name, {}) if model == "tiny" else {}
    for key, value in (premises | settings).items():
        OmegaConf.update(stage.config, key, value, force_add=True)
    return stage


@pytest.mark.parametrize(
    ("name", "settings", "words"),
    [
        pytest.param("sft", {SFT_BATCH: 33}, ["=33", "multiple of 32", "use 32"], id="sft: half a micro-batch"),
        pytest.param("sft", {SFT_BATCH: 16}, ["=16", "multiple of 32", "use 32"], id="sft: less than a micro-batch"),
        pytest.param("sft", {SFT_BATCH: 0}, ["=0", "at least 1"], id="sft: an empty batch"),
        pytest.param("sft", {SFT_BATCH: None}, ["=null", "at least 1"], id="sft: no batch size"),
        pytest.param("sft", {"data.micro_batch_size_per_gpu": 0}, ["=0", "at least 1"], id="sft: no micro-batch"),
        pytest.param("sft", {"data.max_length": 0}, ["=0", "at least 1"], id="sft: no room for a token"),
        pytest.param("sft", {"trainer.total_epochs": 0}, ["=0", "at least 1"], id="sft: no epoch"),
        pytest.param("sft", {"trainer.total_training_steps": 0}, ["=0", "at least 1"], id="sft: no step"),
        pytest.param("sft", {"trainer.n_gpus_per_node": 0}, ["=0", "at least 1"], id="sft: no slot"),
        pytest.param("sft", {"gr_vl.device": "tpu"}, ["='tpu'", "cpu, cuda"], id="sft: another device"),
        pytest.param("data", {"gr_vl.dialect": "llama"}, ["='llama'", "guardreasoner_vl"], id="data: no such dialect"),
        pytest.param(
            "data", {"gr_vl.data.source": "web"}, ["='web'", "demo, demo_policy, xstest, parquet"], id="data: no source"
        ),
        pytest.param("data", {"gr_vl.data.test": 0}, ["=0", "at least 1"], id="data: an empty split"),
        pytest.param("mine", {"gr_vl.mine.rule": "hard"}, ["='hard'", "all_wrong, any_wrong"], id="mine: no rule"),
        pytest.param("mine", {"gr_vl.mine.easy": 1.0}, ["=1.0", "[0, 1)", "use 0"], id="mine: easy samples alone"),
        pytest.param("mine", {"gr_vl.mine.keep": 0}, ["=0", "at least 1"], id="mine: keep nothing"),
        pytest.param("mine", {"gr_vl.generation.answers": 0}, ["=0", "at least 1"], id="mine: no answer"),
        pytest.param("mine", {"gr_vl.generation.top_p": 0.0}, ["=0.0", "(0, 1]", "use 1"], id="mine: no token left"),
        pytest.param("mine", {"gr_vl.generation.top_p": 1.5}, ["=1.5", "(0, 1]", "use 1"], id="mine: over certain"),
        pytest.param("mine", {"gr_vl.generation.temperature": -1.0}, ["=-1.0", "use 0"], id="mine: below zero"),
        pytest.param("mine", {ROOM: 300}, ["=300", "= 320", "raise it to 320"], id="mine: answers do not fit"),
        pytest.param("concat", {"gr_vl.concat.share": 1.0}, ["=1.0", "[0, 1)", "0.2"], id="concat: pairs alone"),
        pytest.param("concat", {"gr_vl.concat.share": -0.1}, ["=-0.1", "[0, 1)"], id="concat: a negative share"),
        pytest.param("concat", {"gr_vl.concat.text_mode": "x"}, ["='x'", "turns, transcripts"], id="concat: no mode"),
        pytest.param("concat", {"gr_vl.concat.max_side": 0}, ["=0", "at least 1"], id="concat: no pixel"),
        pytest.param(
            "concat", {"gr_vl.concat.balance": "x"}, ["='x'", "uniform, label, modality"], id="concat: no balance"
        ),
        pytest.param("concat", {"gr_vl.concat.workers": 0}, ["=0", "at least 1"], id="concat: nobody to work"),
        pytest.param("concat", {"gr_vl.concat.cache_gb": 0.0}, ["=0.0", "cache=null"], id="concat: no room to cache"),
        pytest.param("rl", {ANSWERS: 1}, ["=1", "at least 2", "use 8"], id="rl: nothing to compare"),
        pytest.param("rl", {SFT_BATCH: 18}, ["=18", "multiple of 4", "use 16"], id="rl: half a mini-batch"),
        pytest.param("rl", {SFT_BATCH: 2}, ["=2", "multiple of 4", "use 4"], id="rl: less than a mini-batch"),
        pytest.param("rl", {MINI: 0}, ["=0", "at least 1"], id="rl: an empty mini-batch"),
        pytest.param("rl", {MICRO: 5}, ["=5", "4 prompts x 8 answers", "divisor of 32"], id="rl: a ragged micro-batch"),
        pytest.param("rl", {MICRO: 0}, ["=0", "at least 1"], id="rl: an empty micro-batch"),
        pytest.param("rl", {MICRO: None}, ["=null", "at least 1"], id="rl: no micro-batch size"),
        pytest.param("rl", {LOG_PROB: 48}, ["=48", "16 prompts x 8 answers", "divisor of 128"], id="rl: log-probs"),
        pytest.param("rl", {MODE: "sync"}, ["='sync'", "one of: gr_vl, "], id="rl: a trainer without our hooks"),
        pytest.param("rl", SEPARATE_HERE, ["='transformers'", "use vllm"], id="rl: a far sampler"),
        pytest.param("rl", {UPDATES: 3} | SEPARATE, ["=3", "use 4"], id="rl: updates that are no step"),
        pytest.param("rl", {OFFLOAD: True, UPDATES: 4} | SEPARATE, ["=true", "use false"], id="rl: updates undone"),
        pytest.param("rl", {NODES: 0, UPDATES: 4} | SEPARATE, ["=0", "at least 1"], id="rl: nothing to sample on"),
        pytest.param(
            "rl",
            {ENGINE: "naive", NODES: 1, UPDATES: 4} | SEPARATE,
            ["='naive'", "use nccl"],
            id="rl: weights that cannot travel",
        ),
        pytest.param("rl", {TENSOR: 2}, ["n_gpus_per_node=1", "multiple of 2", "use 2"], id="rl: half an engine"),
        pytest.param("rl", {ROOM: 319}, ["=319", "= 320", "raise it to 320"], id="rl: answers do not fit"),
        pytest.param("rl", {"gr_vl.clip.kind": "square"}, ["='square'", "paper, constant"], id="rl: no schedule"),
        pytest.param("rl", {"gr_vl.clip.epsilon": 1.0}, ["=1.0", "try 0.2"], id="rl: a range of one"),
        pytest.param("rl", {"gr_vl.clip.epsilon_high": "far"}, ["=far", "try 0.28"], id="rl: an upper bound in words"),
        pytest.param("rl", {"gr_vl.clip.final": 0.5}, ["=0.5", "epsilon=0.2"], id="rl: a range that grows"),
        pytest.param("rl", {"gr_vl.reward.preset": "log"}, ["='log'", "omni_v1, omni_v2, paper"], id="rl: no preset"),
        pytest.param("rl", {"gr_vl.reward.gate": "maybe"}, ["='maybe'", "tags, result, none"], id="rl: no gate"),
        pytest.param("rl", {f"{PRICE}.price": 0.5}, ["=0.5", "[0, 0.5)", "lower it"], id="rl: too dear"),
        pytest.param("rl", {f"{PRICE}.cost": 1}, [".cost", "takes: weight, price"], id="rl: no parameter"),
        pytest.param("rl", {"gr_vl.reward.budget": 0}, ["=0", "positive"], id="rl: no budget"),
        pytest.param("eval", {"gr_vl.generation.samples": 0}, ["=0", "at least 1"], id="eval: no sample"),
        pytest.param("eval", {"gr_vl.generation.top_p": 0.0}, ["=0.0", "use 1"], id="eval: no token left"),
        pytest.param("eval", {ROOM: 100}, ["=100", "raise it to 320"], id="eval: answers do not fit"),
    ],
)
def test_an_impossible_setting_is_refused_with_key_value_and_fix(name, settings, words):
    with pytest.raises(ConfigError) as caught:
        checks.check(with_settings(name, "tiny", settings), files=False)
    message = str(caught.value)
    key = next(iter(settings))
    assert message.startswith((key.rsplit(".", 1)[0] if key == TENSOR else key, "trainer."))
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("preset", preset_names())
@pytest.mark.parametrize("name", ["rl", "rl_eco"])
def test_any_recipe_takes_any_preset_as_it_is(name, preset):
    facts = checks.check(with_settings(name, "tiny", {"gr_vl.reward.preset": preset}), files=False)
    alone = SafetyReward.from_config({"preset": preset, "budget": 96}, "guardreasoner_vl")
    assert SafetyReward.from_config(facts["reward"], "guardreasoner_vl") == alone


@pytest.fixture
def run(tmp_path):
    """A run folder that has what every stage needs."""
    rows = [make_sample(str(index)) for index in range(64)]
    for name in ("data/train", "data/validation", "data/test", "mine/hard", "concat/train"):
        io.write(tmp_path / f"{name}.parquet", rows)
    for stage in ("base", "sft", "rl", "rl_eco"):
        make_model(tmp_path / stage / "model")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        pytest.param("data", {"source": "demo"}, id="data"),
        pytest.param("base", {}, id="base"),
        # 64 rows are 2 batches of 32; 2 epochs of them are fewer than the 260 steps asked for.
        pytest.param("sft", {"steps": 4, "sequences a step": 32, "slots": 1}, id="sft"),
        pytest.param("mine", {"samples": 64, "answers a sample": 4}, id="mine"),
        pytest.param("concat", {"share of pairs": 0.2}, id="concat"),
        pytest.param("rl", {"steps": 32, "answers a step": 128, "updates a step": 4, "slots": 1}, id="rl"),
        pytest.param("rl_eco", {"steps": 32, "answers a step": 128}, id="rl_eco"),
        pytest.param("eval", {"samples": 64, "answers a sample": 1}, id="eval"),
    ],
)
def test_good_settings_tell_what_they_amount_to(run, name, facts):
    settings = {"gr_vl.run": str(run)}
    if name == "sft":
        settings |= {"trainer.total_training_steps": 260, "trainer.total_epochs": 2}
    if name in ("rl", "rl_eco"):
        settings |= {"trainer.total_training_steps": 32}
    found = checks.check(with_settings(name, "tiny", settings))
    assert {key: found[key] for key in facts} == facts


def test_a_paper_sized_corpus_makes_23_steps(run):
    io.write(run / "concat" / "train.parquet", [make_sample(str(index)) for index in range(12_000)])
    found = checks.check(with_settings("rl", "3b", {"gr_vl.run": str(run)}))
    assert (found["steps"], found["answers a step"], found["updates a step"]) == (23, 512 * 16, 2)
    assert found["clip"] == ClipSchedule("paper", 0.2)
    assert found["clip"].curve(found["steps"])[-1] == 0


def test_the_paper_sized_cold_start_makes_1923_steps(run):
    # 123,096 rows x 3 epochs / 192; the last partial batch of each epoch is dropped: 641 x 3.
    pq.write_table(pa.table({"id": pa.nulls(123_096)}), run / "data" / "train.parquet")
    found = checks.check(with_settings("sft", "7b", {"gr_vl.run": str(run)}))
    assert (found["steps"], found["slots"]) == (1923, 4)


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("base", "data/train.parquet"),
        ("sft", "data/train.parquet"),
        ("sft", "data/validation.parquet"),
        ("sft", "base/model/config.json"),
        ("mine", "sft/model/config.json"),
        ("mine", "data/train.parquet"),
        ("concat", "mine/hard.parquet"),
        ("rl", "concat/train.parquet"),
        ("rl", "data/validation.parquet"),
        ("rl", "sft/model/config.json"),
        ("eval", "rl_eco/model/config.json"),
        ("eval", "data/test.parquet"),
    ],
    ids=lambda value: value,
)
def test_a_missing_file_is_named_with_what_makes_it(run, name, missing):
    (run / missing).unlink()
    stage = with_settings(name, "tiny", {"gr_vl.run": str(run)})
    with pytest.raises(DataError) as caught:
        checks.check(stage)
    assert str(caught.value).startswith(str(run / missing.removesuffix("/config.json")))
    assert "gr-vl data" in str(caught.value) or "run the stage that makes it" in str(caught.value)
    checks.check(stage, files=False)


def test_a_missing_folder_of_a_source_is_named(tmp_path):
    settings = {"gr_vl.data.source": "xstest", "gr_vl.data.folder": str(tmp_path / "none")}
    with pytest.raises(DataError, match=r"gr_vl\.data\.folder=.*none: no such folder; source=xstest"):
        checks.check(with_settings("data", "tiny", settings))


def test_a_hub_name_is_no_missing_folder(run):
    stage = with_settings("sft", "3b", {"gr_vl.run": str(run), SFT_BATCH: 24})
    assert stage.config.model.path == "Qwen/Qwen2.5-VL-3B-Instruct"
    assert checks.check(stage)["steps"] == 64 // 24 * 3


def test_more_rows_a_step_than_there_are(run):
    settings = {"gr_vl.run": str(run), SFT_BATCH: 80, MINI: 4, LOG_PROB: 64}
    with pytest.raises(GuardError, match=r"data\.train_batch_size=80 exceeds the 64 rows of .*lower it"):
        checks.check(with_settings("rl", "tiny", settings))


def test_log_probs_that_are_not_recomputed_need_no_divisor():
    settings = {LOG_PROB: 48, "algorithm.rollout_correction.bypass_mode": True}
    assert checks.check(with_settings("rl", "tiny", settings), files=False)["slots"] == 1


@pytest.mark.parametrize("key", [MICRO, LOG_PROB])
def test_dynamic_batches_need_no_divisor(key):
    switch = {MICRO: "actor.use_dynamic_bsz", LOG_PROB: "rollout.log_prob_use_dynamic_bsz"}[key]
    settings = {key: 7, f"actor_rollout_ref.{switch}": True}
    assert checks.check(with_settings("rl", "tiny", settings), files=False)["slots"] == 1
