"""The adapter: the only package that imports verl. Valid for verl 0.9.1; `tests/verl/test_contract.py` pins it all.

Loaded in every verl process by `VERL_USE_EXTERNAL_MODULES=gr_vl.verl_ext.plugin` (an error there is fatal).

Hooks, each through a registry of verl:

| name           | registry of verl                                   | ours                                    |
| -------------- | -------------------------------------------------- | --------------------------------------- |
| `cpu`          | `PlatformRegistry`, chosen by `VERL_PLATFORM=cpu`  | `platform.CpuPlatform`                  |
| fsdp2 on cpu   | `EngineRegistry(device="cpu")`                     | `engine.CpuFSDPEngine`                  |
| `transformers` | `_ROLLOUT_REGISTRY`, `RolloutReplicaRegistry`      | `rollout.WeightSender`, `rollout.Replica` |
| `gr_vl`        | `register_trainer`                                 | `trainer.GuardTrainer`                  |
| SFT            | none: `entry.train_sft` starts a subclass          | `sft_trainer.GuardSFT`                  |
| HS-DPO         | none: `entry.train_dpo` starts a subclass          | `preference.PreferenceTrainer`          |
| `gr_vl`        | reward manager `register`                          | `reward_manager.GuardRewardManager`     |
| `gr_vl`        | agent loop `register`                              | `agent_loop.SeededAgentLoop`            |
| dataset        | `data.custom_cls`                                  | `datasets.SFTData`, `datasets.RLData`   |
| dataset of pairs | `data.custom_cls`                                | `preference.PreferenceData`             |

Replaced in instances by these subclasses: verl's SFT checkpoint handler (`sft_trainer.MarkedCheckpoints`), the loss of
the SFT trainer (`preference.preference_loss`) and of RL (`trainer.StepLoss`), the log of the RL trainer
(`surviving.Surviving`), the image processor of an agent loop (`agent_loop.RememberingImages`). While
`sft_trainer.GuardSFT.fit` runs, the module's `Tracking` is ours: verl has no hook at the end of an SFT step.

Patches (`patches.py`), each with a test that fails when verl no longer needs it:

| patch                  | why                                                                                     |
| ---------------------- | --------------------------------------------------------------------------------------- |
| `gloo_once`            | verl asks for the backend `cpu:gloo,cpu:gloo`; torch refuses a device twice             |
| `text_only_batch`      | verl's Qwen2-VL forward calls `.mean()` on a model output when no row has an image      |
| `unpinned_offload`     | the reference model's CPU offload pins memory, which needs a CUDA driver                |
| `log_probs_at_once`    | without flash-attn verl takes log-probabilities token by token: half of an update on CPU    |
| `loader_workers`       | verl's SFT trainer under Ray forks 8 data loaders and ignores `data.num_workers`        |
| `no_vision_tokens`     | a sampled vision token breaks verl's position ids: vLLM never samples one               |
| `pictures_without_text` | verl reads answers back: one that spells an image token would claim a picture there      |
| `seeded_workers`       | verl starts its workers, and LoRA's weights, from chance                                 |
| `no_flush`             | verl's separate trainer without replicas hands `flush` to a logger, and ends            |
| `rendezvous_port`      | verl lets go of the port at which ranks meet, and a connection may be given it           |
| `no_pickle`            | verl loads checkpoints with pickle, which runs code that they hold                       |
"""
