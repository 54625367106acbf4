"""Recipes compose: every stage for every model, with the paper's numbers, and a mistake is answered in one line."""

from functools import cache

import pytest

from gr_vl import compose
from gr_vl.errors import ConfigError

RECIPE = "guardreasoner_vl"
STAGES = ("data", "sft", "mine", "concat", "rl", "rl_eco", "eval")
CASES = [(name, model) for name in STAGES for model in ("tiny", "3b", "7b")] + [("base", "tiny")]
PUBLISHED = [
    ("sft", "data.train_batch_size", 192, "section 4: batch"),
    ("sft", "data.micro_batch_size_per_gpu", 6, "section 4: 6 per device"),
    ("sft", "data.max_length", 2048, "section 4: cutoff length"),
    ("sft", "optim.lr", 5e-5, "section 4: lr"),
    ("sft", "optim.lr_scheduler_type", "cosine", "section 4: schedule"),
    ("sft", "optim.lr_warmup_steps_ratio", 0.0, "section 4: warm-up 0 steps"),
    ("sft", "optim.clip_grad", 1.0, "section 4: max_grad_norm"),
    ("sft", "trainer.total_epochs", 3, "section 4: epochs"),
    ("sft", "trainer.total_training_steps", None, "section 4: epochs set the length"),
    ("sft", "trainer.n_gpus_per_node", 4, "section 4: 4 GPUs"),
    ("mine", "gr_vl.generation.samples", None, "section 5.1: over all training data"),
    ("mine", "gr_vl.generation.answers", 4, "section 5.1: 4 times"),
    ("mine", "gr_vl.generation.temperature", 1.0, "section 5.1: temperature"),
    ("mine", "gr_vl.generation.top_p", 0.95, "section 5.1: top_p"),
    ("mine", "actor_rollout_ref.rollout.response_length", 4096, "section 5.1: max_tokens"),
    ("mine", "gr_vl.mine.rule", "all_wrong", "section 5.1: all 4 outputs wrong"),
    ("mine", "gr_vl.mine.image_bypass", False, "section 5: decision against the code's exception"),
    ("mine", "gr_vl.mine.keep", 9600, "section 5.1: 9,600 train"),
    ("concat", "gr_vl.concat.share", 0.2, "section 5.2: 20% are augmented"),
    ("concat", "gr_vl.concat.max_side", 1024, "section 5.2: at most 1024 x 1024"),
    ("concat", "gr_vl.concat.text_mode", "turns", "section 5.2: the paper's figure"),
    ("rl", "data.train_batch_size", 512, "section 6.3: rollout batch"),
    ("rl", "data.max_prompt_length", 3072, "section 6.3: max prompt"),
    ("rl", "data.max_response_length", 3072, "section 6.3: max response"),
    ("rl", "actor_rollout_ref.rollout.n", 16, "section 6.3: rollouts per prompt"),
    ("rl", "actor_rollout_ref.rollout.temperature", 1.2, "section 6.3: rollout temperature"),
    ("rl", "actor_rollout_ref.rollout.top_p", 1, "section 6.3: top_p"),
    ("rl", "actor_rollout_ref.rollout.top_k", -1, "section 6.3: top_k"),
    ("rl", "actor_rollout_ref.rollout.tensor_model_parallel_size", 2, "section 6.3: tensor parallel"),
    ("rl", "actor_rollout_ref.rollout.gpu_memory_utilization", 0.5, "section 6.3: gpu_memory_utilization"),
    ("rl", "actor_rollout_ref.rollout.log_prob_micro_batch_size_per_gpu", 16, "section 6.3: log-prob micro-batch"),
    ("rl", "actor_rollout_ref.actor.ppo_mini_batch_size", 256, "section 6.3: actor batch of the paper"),
    ("rl", "actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu", 4, "section 6.3: update micro-batch"),
    ("rl", "actor_rollout_ref.actor.ppo_epochs", 1, "section 6.3: ppo_epochs"),
    ("rl", "actor_rollout_ref.actor.optim.lr", 1e-6, "section 6.3: actor lr"),
    ("rl", "actor_rollout_ref.actor.optim.lr_scheduler_type", "constant", "section 6.3: constant"),
    ("rl", "actor_rollout_ref.actor.optim.lr_warmup_steps_ratio", 0.0, "section 6.3: no warm-up"),
    ("rl", "actor_rollout_ref.actor.optim.weight_decay", 0.01, "section 6.3: weight decay"),
    ("rl", "actor_rollout_ref.actor.grad_clip", 1.0, "section 6.3: max grad norm"),
    ("rl", "actor_rollout_ref.actor.use_kl_loss", False, "section 6.1: without KL loss"),
    ("rl", "algorithm.use_kl_in_reward", False, "section 6.1: without KL"),
    ("rl", "actor_rollout_ref.actor.loss_agg_mode", "token-mean", "section 6.1: mask-weighted token mean"),
    ("rl", "algorithm.adv_estimator", "grpo", "section 6.1: GRPO"),
    ("rl", "algorithm.norm_adv_by_std_in_grpo", True, "section 6.1: divided by the standard deviation"),
    ("rl", "gr_vl.clip.kind", "paper", "section 6.1: the product"),
    ("rl", "gr_vl.clip.epsilon", 0.2, "section 6.1: eps"),
    ("rl", "gr_vl.reward.preset", "paper", "section 6.2: equation 10"),
    ("rl_eco", "gr_vl.reward.preset", "eco", "section 6.2: beta of Eco"),
    ("rl", "trainer.total_epochs", 1, "section 6.3: epochs"),
    ("rl", "trainer.total_training_steps", None, "section 6.1: the data set the number of steps"),
    ("rl", "trainer.n_gpus_per_node", 4, "section 6.3: 4 GPUs"),
    ("eval", "gr_vl.generation.temperature", 0.0, "section 7: temperature 0"),
    ("eval", "gr_vl.generation.top_p", 1.0, "section 7: top_p"),
    ("eval", "actor_rollout_ref.rollout.response_length", 4096, "section 7: max_tokens"),
    ("eval", "actor_rollout_ref.rollout.gpu_memory_utilization", 0.7, "section 7: gpu utilisation"),
]
OUTPUTS = {
    "gr_vl.out",
    "actor_rollout_ref.rollout.trace.experiment_name",
    "trainer.experiment_name",
    "trainer.default_local_dir",
    "trainer.rollout_data_dir",
}


@cache
def composed(name, model, *overrides):
    return compose.stage(RECIPE, name, [f"model={model}", *overrides])


@cache
def values(name, model, *overrides):
    return compose.leaves(composed(name, model, *overrides).config)


@pytest.mark.parametrize(("name", "model"), CASES, ids=[f"{name} for {model}" for name, model in CASES])
def test_every_stage_composes_for_every_model(name, model):
    stage = composed(name, model)
    assert (stage.name, stage.kind) == (name, "rl" if name == "rl_eco" else name)
    assert stage.config.gr_vl.model == model
    missing = {key for key, value in compose.leaves(stage.config.gr_vl).items() if value == "???"}
    # A stage that loads no model need not say which one the run starts from.
    assert missing == ({"base_model"} if name in ("data", "base", "concat") else set())


@pytest.mark.parametrize(
    ("model", "stages"),
    [
        ("tiny", ["data", "base", "sft", "mine", "concat", "rl", "rl_eco", "eval"]),
        ("3b", ["data", "sft", "mine", "concat", "rl", "rl_eco", "eval"]),
        ("7b", ["data", "sft", "mine", "concat", "rl", "rl_eco", "eval"]),
    ],
)
def test_the_pipeline_of_a_model_lists_its_stages_in_order(model, stages):
    assert compose.pipeline(RECIPE, [f"model={model}", "rl:trainer.total_training_steps=4"]) == stages


@pytest.mark.parametrize("model", ["3b", "7b"])
@pytest.mark.parametrize(
    ("name", "key", "value", "source"), PUBLISHED, ids=[f"{n}: {k} is {v} ({s})" for n, k, v, s in PUBLISHED]
)
def test_published_numbers(name, key, value, source, model):
    found = values(name, model)
    assert key in found, source
    assert found[key] == pytest.approx(value), source


@pytest.mark.parametrize("model", ["3b", "7b"])
@pytest.mark.parametrize("name", ["rl", "rl_eco"])
def test_the_length_term_has_our_budget_since_the_paper_gives_none(name, model):
    assert values(name, model)["gr_vl.reward.budget"] == 768


@pytest.mark.parametrize("model", ["tiny", "3b", "7b"])
def test_eco_differs_only_in_its_reward_and_where_it_writes(model):
    rl, eco = values("rl", model), values("rl_eco", model)
    assert {key for key in rl.keys() | eco.keys() if rl.get(key) != eco.get(key)} == OUTPUTS | {"gr_vl.reward.preset"}
    for key in OUTPUTS:
        assert eco[key] == rl[key].replace("/rl/", "/rl_eco/") or (rl[key], eco[key]) == ("rl", "rl_eco")


def test_short_forms_set_seed_run_and_model():
    stage = composed("sft", "tiny", "seed=7", "run=runs/other")
    assert stage.config.gr_vl.seed == stage.config.trainer.seed == 7
    assert (str(stage.run), str(stage.folder)) == ("runs/other", "runs/other/sft")
    assert stage.config.data.train_files == "runs/other/data/train.parquet"
    assert (stage.config.gr_vl.model, stage.config.gr_vl.device) == ("tiny", "cpu")


def test_config_picks_a_variant_of_a_stage():
    stage = compose.stage(RECIPE, "rl", ["config=rl_eco", "model=7b"])
    assert (stage.name, stage.kind, stage.folder.name) == ("rl_eco", "rl", "rl_eco")
    assert stage.config.gr_vl.base_model == "Qwen/Qwen2.5-VL-7B-Instruct"


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        pytest.param("gr_vl.concat.share=0", "gr_vl.concat.share", 0, id="an integer for a fraction"),
        pytest.param("gr_vl.concat.share=1e-3", "gr_vl.concat.share", 1e-3, id="a fraction"),
        pytest.param("gr_vl.seed=3", "gr_vl.seed", 3, id="a long key of a short form"),
        pytest.param("+gr_vl.note=1", "gr_vl.note", 1, id="a key that is added"),
    ],
)
def test_an_override_takes_effect(override, key, value):
    assert values("concat", "3b", override)[key] == value


def test_a_key_can_be_taken_away():
    stage = compose.stage(RECIPE, "eval", ["model=3b", "~gr_vl.eval.models.rl_eco"])
    assert list(stage.config.gr_vl.eval.models) == ["sft", "rl"]


def test_a_number_may_take_the_place_of_null():
    stage = compose.stage(RECIPE, "data", ["model=3b", "gr_vl.data.folder=/elsewhere"])
    assert stage.config.gr_vl.data.folder == "/elsewhere"


def test_the_digest_changes_with_any_setting_and_only_then():
    again = compose.stage(RECIPE, "concat", ["model=tiny"])
    other = compose.stage(RECIPE, "concat", ["model=tiny", "gr_vl.concat.share=0.3"])
    assert composed("concat", "tiny").hash == again.hash != other.hash


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        pytest.param("sft", ["data.train_batch=3"], ["data.train_batch:", "data.train_batch_size"], id="a short key"),
        pytest.param("rl", ["gr_vl.clip.epsilom=3"], ["gr_vl.clip.epsilon?"], id="a misspelt key"),
        pytest.param("concat", ["xyzzy=3"], ["xyzzy:", "put + before it"], id="a key unlike any"),
        pytest.param("sft", ["data.train_batch_size=many"], ["data.train_batch_size='many'", "int"], id="a word"),
        pytest.param("concat", ["gr_vl.concat.share=much"], ["gr_vl.concat.share='much'", "float"], id="no fraction"),
        pytest.param("concat", ["gr_vl.concat.max_side=1.5"], ["gr_vl.concat.max_side=1.5", "int"], id="half a pixel"),
        pytest.param("mine", ["gr_vl.mine.image_bypass=3"], ["gr_vl.mine.image_bypass=3", "bool"], id="no switch"),
        pytest.param("concat", ["gr_vl.concat.max_side=true"], ["max_side=True", "int"], id="a switch for a number"),
        pytest.param("concat", ["gr_vl.concat=3"], ["gr_vl.concat=3"], id="a number for a whole block"),
        pytest.param(
            "concat", ["gr_vl.concat=null"], ["gr_vl.concat=None", "whole block"], id="null for a whole block"
        ),
        pytest.param("concat", ["gr_vl.seed=???"], ["gr_vl.seed='???'", "int"], id="a gap for the seed"),
        pytest.param("concat", ["seed=one"], ["gr_vl.seed='one'", "int"], id="a word for the seed"),
        pytest.param("concat", ["seed"], ["'seed'", "key=value"], id="an override without a value"),
        pytest.param("concat", ["gr_vl.concat.share=[1"], ["[1"], id="a broken list"),
        pytest.param("concat", ["model=13b"], ["model='13b'", "3b, 7b, tiny"], id="an unknown model"),
        pytest.param("concat", ["config=ppo"], ["config='ppo'", "rl_eco, sft"], id="an unknown config"),
        pytest.param("concat", ["gr_vl.run=${nowhere}"], ["nowhere"], id="a reference to nothing"),
    ],
)
def test_a_mistake_is_answered_in_one_line(name, overrides, words):
    with pytest.raises(ConfigError) as caught:
        compose.stage(RECIPE, name, ["model=tiny", *overrides])
    message = str(caught.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_an_unknown_recipe_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"RECIPE='guard_reasoner'.*guardreasoner_vl"):
        compose.stage("guard_reasoner", "sft")


def test_a_recipe_may_be_a_folder_anywhere(tmp_path):
    (tmp_path / "common.yaml").write_text("gr_vl:\n  kind: ???\n  run: runs/x\n  seed: 1\n")
    (tmp_path / "data.yaml").write_text("defaults: [common, _self_]\ngr_vl:\n  kind: data\n")
    assert compose.stage(str(tmp_path), "data", ["seed=4"]).config.gr_vl.seed == 4
