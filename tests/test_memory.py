"""Predicted peaks, by hand from the formulas of `gr_vl.memory`, and what the GPU recipes compose to."""

import pytest

from gr_vl import checks, compose, memory, stages
from gr_vl.errors import ConfigError
from gr_vl.memory import Shape, update

RECIPE = "guardreasoner_vl"


def predict(stage):
    return memory.predict(stage.config, stages.get(stage.kind).memory)


SMALL = Shape(parameters=10**9, hidden=1000, layers=10, intermediate=2000, vocabulary=10_000)


def test_an_update_by_hand():
    # 16e9 / 4 of states, 4e9 / 10 gathered, 2 x 1000 x (1000 x 10 + 4 x 1000 + 3 x 2000) of activations and
    # 6 x 1000 x 10,000 of logits: 4 + 0.4 + 0.04 + 0.06, and 3 of context.
    assert update(SMALL, gpus=4, tokens=1000) == pytest.approx(7.5)


def test_adapters_by_hand():
    # 10 layers x 8 x (4 x 1000 + 3 x 3000).
    assert SMALL.adapters(8) == 1_040_000
    # (16 x 1.04e6 + 4e9) / 4 = 1.00416e9 in place of 4e9.
    assert update(SMALL, gpus=4, tokens=1000, lora_rank=8) == pytest.approx(4.50416)


@pytest.mark.parametrize(
    ("name", "overrides", "gpu", "host"),
    [
        # 16 x 3.754622976 / 4 + 4 x 3.754622976 / 36 = 15.0185 + 0.4172; T = 12,288: 2 T (2048 x 36 + 41,216) = 2.8249;
        # 6 T x 151,936 = 11.2019; + 3. Host: 4 x 3.7546 + 4 processes x 6.
        pytest.param("sft", [], 32.4625, 39.0185, id="sft"),
        # One GPU holds all: 60.0740 of states. Host: as before with one process.
        pytest.param("sft", ["gr_vl.gpus_per_node=1"], 77.5180, 21.0185, id="sft on one GPU"),
        # Two nodes of 8: 3.7546 of states; 8 processes a node.
        pytest.param("sft", ["gr_vl.gpus_per_node=8", "gr_vl.nodes=2"], 21.1986, 63.0185, id="sft on two nodes"),
        # Sampling takes 0.5 x 80 + 3; the update less. Host: 12 x 3.7546 offloaded + 15.0185 + (8 + 8 + 8) x 6.
        pytest.param("rl", [], 43.0, 204.0740, id="rl: sampling takes most"),
        # Nothing offloaded: 12 x 3.7546 / 4 = 11.2639 more while sampling.
        pytest.param(
            "rl",
            [f"actor_rollout_ref.actor.fsdp_config.{what}_offload=false" for what in ("param", "optimizer")],
            54.2639,
            159.0185,
            id="rl: nothing offloaded",
        ),
        pytest.param("mine", [], 56.0, 24.0, id="mine: 0.7 x 80"),
        pytest.param("eval", ["actor_rollout_ref.rollout.gpu_memory_utilization=0.5"], 40.0, 24.0, id="eval"),
    ],
)
def test_peaks_of_the_3b_recipe_by_hand(name, overrides, gpu, host):
    peak = predict(compose.stage(RECIPE, name, ["model=3b", *overrides]))
    assert (peak.gpu, peak.host) == (pytest.approx(gpu, abs=1e-3), pytest.approx(host, abs=1e-3))


def test_nothing_is_predicted_for_a_cpu_or_an_unknown_model():
    assert predict(compose.stage(RECIPE, "sft", ["model=tiny"])) is None
    assert predict(compose.stage(RECIPE, "sft", ["model=3b", "gr_vl.base_model=models/other"])) is None


@pytest.mark.parametrize("model", ["3b", "7b"])
def test_a_gpu_recipe_runs_rl_at_published_settings(model):
    stage = compose.stage(RECIPE, "rl", [f"model={model}"])
    facts = checks.check(stage, files=False)
    # 512 prompts x 16 answers; 2 updates of 256 prompts; 4096 / 4 answers a GPU.
    assert (facts["answers a step"], facts["updates a step"], facts["answers a slot an update"]) == (8192, 2, 1024)
    model, actor, rollout = (stage.config.actor_rollout_ref[name] for name in ("model", "actor", "rollout"))
    assert (rollout.name, rollout.tensor_model_parallel_size, rollout.temperature) == ("vllm", 2, 1.2)
    assert (actor.strategy, actor.optim.lr, actor.use_dynamic_bsz) == ("fsdp2", 1e-6, True)
    assert (actor.use_kl_loss, stage.config.algorithm.use_kl_in_reward) == (False, False)
    assert model.override_config.attn_implementation == "flash_attention_2"
    assert (model.use_remove_padding, model.enable_gradient_checkpointing) == (True, True)


@pytest.mark.parametrize(("kind", "rate"), [("sft", 2e-4), ("rl", 1e-5)])
def test_adapters_are_a_variant_of_any_gpu_recipe(kind, rate):
    config = compose.stage(RECIPE, kind, ["model=7b", f"+{kind}_variant=lora"]).config
    model, optim = (
        (config.model, config.optim)
        if kind == "sft"
        else (
            config.actor_rollout_ref.model,
            config.actor_rollout_ref.actor.optim,
        )
    )
    assert (model.lora_rank, optim.lr) == (64, rate)


@pytest.mark.parametrize(
    ("name", "overrides", "words"),
    [
        pytest.param("sft", ["data.max_token_len_per_gpu=2047"], "=2047 is less than data.max_length = 2048", id="sft"),
        pytest.param(
            "rl", ["actor_rollout_ref.actor.ppo_max_token_len_per_gpu=6143"], "=6143 is less than .* = 6144", id="rl"
        ),
        pytest.param("sft", ["gr_vl.gpus_per_node=5"], "=192 must be a multiple of 5", id="sft: a ragged step"),
        pytest.param("rl", ["gr_vl.gpus_per_node=6"], "=256 must be a multiple of 3", id="rl: a ragged update"),
        pytest.param(
            "mine", ["actor_rollout_ref.rollout.tensor_model_parallel_size=3"], "=4 must be a multiple of 3", id="mine"
        ),
        pytest.param(
            "rl",
            ["actor_rollout_ref.actor.use_kl_loss=true", "actor_rollout_ref.actor.kl_loss_coef=0.0"],
            "loads a reference model for nothing",
            id="rl: a reference model of weight 0",
        ),
    ],
)
def test_what_would_fail_on_gpus_is_refused(name, overrides, words):
    with pytest.raises(ConfigError, match=words):
        checks.check(compose.stage(RECIPE, name, ["model=3b", *overrides]), files=False)
