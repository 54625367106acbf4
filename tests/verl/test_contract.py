"""What verl 0.9.1 must look like for `gr_vl.verl_ext` to work, and which of our patches it still needs.

A failure here after an upgrade of verl names the function to look at.
"""

import dataclasses
import importlib
import inspect
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.verl

SIGNATURES = [
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.__init__", "self config"),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.on_train_begin", "self"),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.on_step_begin", "self"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._compute_advantage", "self batch metrics"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._log_rollout_data", "self batch timing_raw rollout_data_dir"),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._dump_generations",
        "self inputs outputs gts scores reward_extra_infos_dict dump_path",
    ),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer.init", "self"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._init_tokenizer", "self"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._save_checkpoint", "self"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._fetch_one_gen_batch", "self"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._step_once", "self metrics timing_raw sample_batch_size"),
    (
        "verl.trainer.ppo.v1.trainer_base",
        "PPOTrainer._balance_batch",
        "self batch metrics logging_prefix keep_minibatch",
    ),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._compute_old_log_prob", "self batch metrics"),
    ("verl.trainer.ppo.v1.trainer_base", "PPOTrainer._update_actor", "self batch metrics"),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.on_sample_end", "self"),
    ("verl.trainer.ppo.v1.trainer_sync", "PPOTrainerSync.on_step_end", "self"),
    ("verl.utils.checkpoint", "CheckpointHandler.save_checkpoint", "self step"),
    ("verl.utils.checkpoint", "CheckpointHandler._load_dataloader_state", "self checkpoint_path"),
    ("verl.trainer.sft_trainer_ray", "SFTTrainer._build_ckpt_handler", "self"),
    ("verl.trainer.sft_trainer_ray", "SFTTrainer._build_engine", "self"),
    ("verl.workers.engine_workers", "TrainingWorker.reset", "self"),
    ("verl.workers.utils.padding", "response_from_nested", "tensor response_mask"),
    ("verl.workers.utils.padding", "no_padding_2_padding", "tensor data"),
    ("transfer_queue", "kv_clear", "keys partition_id"),
    ("transfer_queue", "kv_batch_put", "keys partition_id fields tags data_parser"),
    ("transfer_queue", "KVBatchMeta", "keys tags partition_id fields extra_info"),
    ("verl.trainer.ppo.v1.trainer_base", "register_trainer", "name"),
    ("verl.workers.utils.losses", "ppo_loss", "config model_output data dp_group"),
    ("verl.workers.engine_workers", "TrainingWorker.set_loss_fn", "self loss_fn"),
    (
        "verl.workers.rollout.replica",
        "RolloutReplica.__init__",
        "self replica_rank config model_config gpus_per_node is_reward_model is_teacher_model name_suffix",
    ),
    ("verl.workers.rollout.replica", "RolloutReplica.init_standalone", "self"),
    ("verl.workers.rollout.replica", "RolloutReplica.launch_servers", "self"),
    ("verl.workers.rollout.replica", "RolloutReplicaRegistry.register", "name loader"),
    ("verl.workers.rollout.base", "BaseRollout.__init__", "self config model_config device_mesh args kwargs"),
    ("verl.workers.rollout.base", "BaseRollout.update_weights", "self weights wire_format kwargs"),
    ("verl.workers.rollout.base", "BaseRollout.resume", "self tags"),
    ("verl.workers.rollout.base", "BaseRollout.release", "self"),
    ("verl.workers.rollout.llm_server", "LLMServerManager.create", "args kwargs"),
    (
        "verl.workers.rollout.llm_server",
        "LLMServerManager.__init__",
        "self config worker_group rollout_resource_pool start_rank load_balancer_cls",
    ),
    ("verl.workers.rollout.llm_server", "LLMServerManager.get_client", "self client_cls kwargs"),
    (
        "verl.workers.rollout.llm_server",
        "LLMServerClient.generate",
        "self request_id prompt_ids sampling_params image_data video_data audio_data mm_processor_kwargs kwargs",
    ),
    (
        "verl.experimental.reward_loop.reward_manager.base",
        "RewardManagerBase.__init__",
        "self config tokenizer compute_score",
    ),
    ("verl.experimental.reward_loop.reward_manager.base", "RewardManagerBase.run_single", "self data"),
    ("verl.experimental.reward_loop.reward_manager", "register", "name"),
    (
        "verl.experimental.agent_loop.single_turn_agent_loop",
        "SingleTurnAgentLoop.run",
        "self sampling_params priority kwargs",
    ),
    ("verl.experimental.agent_loop.agent_loop", "register", "agent_name"),
    (
        "verl.experimental.agent_loop.agent_loop",
        "AgentLoopWorker._compute_multi_modal_inputs",
        "self output input_ids",
    ),
    ("verl.workers.engine", "EngineRegistry.register", "model_type backend device vendor"),
    ("verl.plugin.platform.platform_manager", "PlatformRegistry.register", "platform"),
    (
        "verl.models.transformers.qwen2_vl",
        "get_rope_index",
        "processor input_ids image_grid_thw video_grid_thw second_per_grid_ts attention_mask",
    ),
    ("verl.models.transformers.qwen2_vl", "unpack_visual_output", "visual_output"),
    (
        "verl.models.transformers.qwen2_vl",
        "_get_input_embeds",
        "model input_ids attention_mask pixel_values pixel_values_videos image_grid_thw video_grid_thw",
    ),
    ("verl.trainer.sft_trainer_ray", "SFTTrainer.__init__", "self config"),
    ("verl.trainer.sft_trainer_ray", "create_sft_dataset", "data_paths data_config tokenizer processor max_samples"),
    ("verl.trainer.ppo.utils", "create_rl_dataset", "data_paths data_config tokenizer processor is_train max_samples"),
    ("verl.trainer.ppo.utils", "need_critic", "config"),
    ("verl.trainer.ppo.utils", "need_reference_policy", "config"),
    ("verl.trainer.main_ppo", "run_ppo", "config task_runner_class"),
    ("verl.trainer.constants_ppo", "get_ppo_ray_runtime_env", "config"),
    ("verl.utils.config", "validate_config", "config use_reference_policy use_critic"),
    ("verl.utils.dataset.rl_dataset", "RLHFDataset.__init__", "self data_files tokenizer config processor max_samples"),
    ("verl.utils.dataset.rl_dataset", "RLHFDataset.process_multi_modal_info", "messages image_patch_size config"),
    ("verl.utils.metric", "Metric.__init__", "self aggregation value"),
    ("transfer_queue", "kv_batch_get", "keys partition_id select_fields"),
    (
        "verl.workers.rollout.replica",
        "TokenOutput",
        "token_ids log_probs routed_experts stop_reason num_preempted extra_fields",
    ),
]
PLATFORM = (
    "communication_backend_name cudart current_device device_count device_module device_name empty_cache "
    "get_device_capability is_available is_ipc_supported manual_seed manual_seed_all nvtx_range profiler_start "
    "profiler_stop ray_noset_envvars ray_resource_name set_allocator_settings set_device synchronize vendor_name "
    "visible_devices_envvar"
)


@pytest.fixture(autouse=True)
def plugin():
    """verl loads our plugin by the variables that `conftest.py` sets."""
    pytest.importorskip("verl")
    from gr_vl.verl_ext import plugin

    return plugin


def found(module, path):
    target = importlib.import_module(module)
    for name in path.split("."):
        target = getattr(target, name)
    return getattr(target, "gr_vl_original", target)


@pytest.mark.parametrize(
    ("module", "path", "parameters"), SIGNATURES, ids=[f"{path} of {module}" for module, path, _ in SIGNATURES]
)
def test_signature(module, path, parameters):
    # Ray adds a parameter of its own to the methods of a class once it has made an actor of it.
    names = [name for name in inspect.signature(found(module, path)).parameters if name != "_ray_trace_ctx"]
    assert " ".join(names) == parameters


def test_the_platform_has_these_parts_to_fill_in():
    from verl.plugin.platform.platform_base import PlatformBase

    assert " ".join(sorted(PlatformBase.__abstractmethods__)) == PLATFORM


def test_the_clip_range_is_three_fields_of_a_frozen_configuration():
    from verl.workers.config import ActorConfig

    names = {item.name for item in dataclasses.fields(ActorConfig)}
    assert {"clip_ratio", "clip_ratio_low", "clip_ratio_high"} <= names


def test_the_loss_clips_at_each_bound():
    import torch

    config = SimpleNamespace(
        clip_ratio=0.1, clip_ratio_low=0.1, clip_ratio_high=0.3, get=lambda name, default: default, global_batch_info={}
    )
    ratio, advantages = torch.tensor([[1.5, 0.5]]), torch.tensor([[1.0, -1.0]])
    loss, metrics = found("verl.trainer.ppo.core_algos", "compute_policy_loss_vanilla")(
        torch.zeros(1, 2), ratio.log(), advantages, torch.ones(1, 2), "token-mean", config
    )
    # A good token may rise to 1.3, a bad one is pushed down to 0.9: the mean of -1.3 and 0.9.
    assert loss.item() == pytest.approx(-0.2)
    assert metrics["actor/pg_clipfrac"] == 1.0


def test_the_replay_buffer_polls_at_an_interval_that_can_be_set():
    buffer = found("verl.trainer.ppo.v1.replay_buffer", "ReplayBuffer")
    assert inspect.signature(buffer).parameters["poll_interval"].default == 2.0
    assert "self.poll_interval" in inspect.getsource(buffer)


def test_the_step_begins_before_the_update_that_its_clip_range_is_for():
    source = inspect.getsource(found("verl.trainer.ppo.v1.trainer_base", "PPOTrainer.fit"))
    assert source.index("self.on_train_begin()") < source.index("self.on_step_begin()") < source.index("self.step(")


@pytest.mark.parametrize(
    ("lookup", "ours"),
    [
        pytest.param(
            lambda: found("verl.plugin.platform.platform_manager", "get_platform")().__class__,
            "platform.CpuPlatform",
            id="the platform of VERL_PLATFORM=cpu",
        ),
        pytest.param(
            lambda: found("verl.workers.engine", "EngineRegistry").get_engine_cls("language_model", "fsdp2"),
            "engine.CpuFSDPEngine",
            id="the engine of fsdp2 on cpu",
        ),
        pytest.param(
            lambda: found("verl.workers.rollout.base", "get_rollout_class")("transformers", "async"),
            "rollout.WeightSender",
            id="the sender of weights to rollout.name=transformers",
        ),
        pytest.param(
            lambda: found("verl.workers.rollout.replica", "get_rollout_replica_class")("transformers"),
            "rollout.Replica",
            id="the server of rollout.name=transformers",
        ),
        pytest.param(
            lambda: found("verl.trainer.ppo.v1.trainer_base", "get_trainer_cls")("gr_vl"),
            "trainer.GuardTrainer",
            id="the trainer of trainer_mode=gr_vl",
        ),
        pytest.param(
            lambda: found("verl.trainer.ppo.v1.trainer_base", "get_trainer_cls")("gr_vl_separate_async"),
            "trainer.SeparateGuardTrainer",
            id="the trainer of trainer_mode=gr_vl_separate_async",
        ),
        pytest.param(
            lambda: found("verl.experimental.reward_loop.reward_manager", "get_reward_manager_cls")("gr_vl"),
            "reward_manager.GuardRewardManager",
            id="the reward manager gr_vl",
        ),
        pytest.param(
            lambda: found("verl.utils.import_utils", "load_extern_type")("pkg://gr_vl.verl_ext.datasets", "RLData"),
            "datasets.RLData",
            id="the dataset of data.custom_cls",
        ),
    ],
)
def test_a_registry_of_verl_finds(lookup, ours):
    module, name = ours.split(".")
    assert lookup() is found(f"gr_vl.verl_ext.{module}", name)


def test_a_registry_of_verl_finds_the_agent_loop():
    registry = found("verl.experimental.agent_loop.agent_loop", "_agent_loop_registry")
    assert registry["gr_vl"] == {"_target_": "gr_vl.verl_ext.agent_loop.SeededAgentLoop"}


def test_patches_refuse_another_verl(monkeypatch):
    from gr_vl.verl_ext import patches

    monkeypatch.setattr(patches, "VALID_FOR", "0.0.1")
    with pytest.raises(RuntimeError, match=r"written for verl 0\.0\.1, found 0\.9\.1"):
        patches.apply()


def test_a_patch_is_applied_once():
    import torch

    from gr_vl.verl_ext import patches

    once = torch.distributed.init_process_group
    patches.apply()
    assert torch.distributed.init_process_group is once
    assert not hasattr(once.gr_vl_original, "gr_vl_original")


def test_gloo_once_is_still_needed(tmp_path):
    import torch
    import torch.distributed as dist

    from gr_vl.verl_ext.platform import CpuPlatform

    backend = f"cpu:gloo,cpu:{CpuPlatform().communication_backend_name()}"
    where = {"rank": 0, "world_size": 1}
    with pytest.raises(ValueError, match=r"Duplicate|duplicate"):
        dist.init_process_group.gr_vl_original(backend, init_method=f"file://{tmp_path}/a", **where)
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/b", **where)
    try:
        total = torch.ones(1)
        dist.all_reduce(total)
        assert dist.get_backend(dist.group.WORLD) == "cpu:gloo"
    finally:
        dist.destroy_process_group()


def test_text_only_batch_is_still_needed(tiny):
    import torch
    from transformers import AutoModelForImageTextToText
    from verl.models.transformers import qwen2_vl

    model = AutoModelForImageTextToText.from_pretrained(tiny).model
    ids = torch.tensor([[5, 6, 7]])
    with pytest.raises(AttributeError, match="mean"):
        qwen2_vl._get_input_embeds.gr_vl_original(model, ids)
    embeds, mask = qwen2_vl._get_input_embeds(model, ids)
    assert torch.equal(embeds, model.get_input_embeddings()(ids))
    assert mask is None
    # The vision tower takes part in the graph, lest ranks with and without images wait for each other.
    embeds.sum().backward()
    assert all(weight.grad is not None for weight in model.visual.parameters())


def test_unpinned_offload_is_still_needed():
    import torch
    from verl.workers.engine.fsdp import transformer_impl

    if torch.cuda.is_available():
        pytest.skip("with a driver memory can be pinned")
    with pytest.raises(RuntimeError):
        torch.ones(1).pin_memory()
    assert "CPUOffloadPolicy(pin_memory=True)" in inspect.getsource(transformer_impl)
    assert transformer_impl.CPUOffloadPolicy.gr_vl_original(pin_memory=True).pin_memory is True
    assert transformer_impl.CPUOffloadPolicy(pin_memory=True).pin_memory is False


def test_no_flush_is_still_needed():
    from verl.trainer.ppo.v1 import trainer_separate_async as module

    assert "flush=True" in inspect.getsource(module.PPOTrainerSeparateAsync._setup)
    stock = module.logger.info.gr_vl_original
    with pytest.raises(TypeError, match="flush"):
        stock("said", flush=True)
    module.logger.info("said", flush=True)


def test_rendezvous_port_is_still_needed(monkeypatch):
    from verl.single_controller.ray import base

    asked = []

    class Remote:
        """Where Ray would start the task that looks for a port."""

        def options(self, **_):
            return self

        def remote(self, master_port_range):
            asked.append(master_port_range)

    monkeypatch.setattr(base, "get_master_addr_port", Remote())
    monkeypatch.setattr(base, "PlacementGroupSchedulingStrategy", lambda **_: None)
    monkeypatch.setattr(base.ray, "get", lambda _: ("127.0.0.1", "1"))
    group = SimpleNamespace(_master_addr=None, _master_port=None)
    base.RayWorkerGroup._get_master_addr_port.gr_vl_original(group, pg=None)
    assert asked.pop() is None  # any port, the kernel's choice
    for _ in range(20):
        group = SimpleNamespace(_master_addr=None, _master_port=None)
        base.RayWorkerGroup._get_master_addr_port(group, pg=None)
        first, last = asked.pop()
        assert 20_000 <= first < last == 32_000


def test_log_probs_at_once_is_still_needed():
    import torch
    from verl.utils import torch_functional

    token_by_token = torch_functional.logprobs_from_logits_v2.gr_vl_original
    assert "for logit in logits" in inspect.getsource(token_by_token)
    logits = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 4, 2], [1, 1, 3]])
    theirs, ours = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    token_by_token(theirs, labels).sum().backward()
    values = torch_functional.logprobs_from_logits(ours, labels)
    values.sum().backward()
    torch.testing.assert_close(values, token_by_token(theirs, labels))
    torch.testing.assert_close(ours.grad, theirs.grad)


def test_the_answers_to_one_prompt_share_its_patches(tiny):
    import torch
    from PIL import Image
    from transformers import AutoProcessor

    from gr_vl.verl_ext.agent_loop import RememberingImages

    processor = AutoProcessor.from_pretrained(tiny)
    direct, calls = processor.image_processor, []

    class Counting:
        def __call__(self, images, **options):
            calls.append(images)
            return direct(images=images, **options)

    remembering = RememberingImages(Counting())
    image = Image.new("RGB", (56, 56), "red")
    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(lambda _: remembering(images=[image.copy()], return_tensors="pt"), range(8)))
    assert len(calls) == 1
    answers[0].pop("image_grid_thw")
    expected = direct(images=[image], return_tensors="pt")
    assert all(torch.equal(answers[1][name], expected[name]) for name in ("pixel_values", "image_grid_thw"))
    remembering(images=[Image.new("RGB", (56, 56), "blue")], return_tensors="pt")
    assert len(calls) == 2


def test_loader_workers_is_still_needed(monkeypatch):
    from omegaconf import OmegaConf
    from verl.trainer import sft_trainer_ray

    from gr_vl.verl_ext import patches

    data = {"train_batch_size": 2, "pad_mode": "no_padding", "num_workers": 1}
    settings = {"data": data, "trainer": {"total_training_steps": 1, "save_freq": 1, "test_freq": 1}}

    def loader():
        trainer = SimpleNamespace(
            config=OmegaConf.create(settings),
            train_dataset=[1, 2],
            val_dataset=None,
            optimizer_config=SimpleNamespace(total_training_steps=None),
        )
        sft_trainer_ray.SFTTrainer._build_dataloader(trainer)
        return trainer.train_dataloader

    monkeypatch.setattr(
        sft_trainer_ray, "StatefulDataLoader", found("verl.trainer.sft_trainer_ray", "StatefulDataLoader")
    )
    assert loader().num_workers == 8
    patches.loader_workers(1)
    assert loader().num_workers == 1


def test_no_vision_tokens_reaches_vllm():
    pytest.importorskip("vllm")
    from verl.workers.rollout.vllm_rollout.vllm_async_server import vLLMHttpServer

    assert "sampling_params" in inspect.signature(vLLMHttpServer.generate.gr_vl_original).parameters
