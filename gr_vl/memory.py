"""Predicted peak memory of a stage on GPUs, from its configuration alone: whether it fits before anything is rented.

With P parameters, n GPUs in all, g of them on a node, T tokens of a micro-batch, h hidden units, L layers, i units of
the feed-forward layer and V words, in bytes (FSDP2 with full sharding, fp32 master weights, bf16 computation):

    states       16 P / n        fp32 weights 4, gradients 4, AdamW moments 8; frozen weights 4, adapters 16
    gathered     4 P / L         two layers at a time in bf16
    activations  2 T h L + 2 T (4 h + 3 i)   one checkpoint a layer, and one layer computed again
    logits       6 T V           bf16: logits, the copy that temperature divides, and their gradient
    update       states + gathered + activations + logits + CONTEXT
    rollout      utilisation x GPU_GB, plus 4 P / n of weights and 8 P / n of moments that are not offloaded + CONTEXT
    host         12 P g / n offloaded + 4 P to write the whole model on one rank + PROCESS x (processes on the node)

Peak GPU memory is the larger one of update and rollout. The constants are estimates from others' reports, not our own
measurements; vision activations and fragmentation are left out, so that a prediction within a tenth of a GPU is no
promise. A model whose shape is not listed, and any run on CPU, has no prediction.
"""

from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig

GB = 1e9
GPU_GB = 80.0
"""Memory of the GPU that is planned for: an A100 or H100."""
CONTEXT = 3.0
"""Gigabytes that CUDA, NCCL and a sleeping rollout engine keep on a GPU."""
PROCESS = 6.0
"""Gigabytes of host memory of a process that has imported torch and CUDA, with its share of the data."""


@dataclass(frozen=True)
class Shape:
    """What the formulas need to know about a model."""

    parameters: int
    hidden: int
    layers: int
    intermediate: int
    vocabulary: int

    def adapters(self, rank: int) -> int:
        """Parameters of LoRA on all linear layers of the language model, queries and outputs counted as h x h and keys
        and values left out, being an eighth or less: rank x (4 h + 3 (h + i)) a layer.
        """
        return self.layers * rank * (4 * self.hidden + 3 * (self.hidden + self.intermediate))


SHAPES = {
    "Qwen/Qwen2.5-VL-3B-Instruct": Shape(3_754_622_976, 2048, 36, 11_008, 151_936),
    "Qwen/Qwen2.5-VL-7B-Instruct": Shape(8_292_166_656, 3584, 28, 18_944, 152_064),
}


@dataclass(frozen=True)
class Peak:
    """Gigabytes (1e9 bytes)."""

    gpu: float
    host: float
    """Of a node."""


Predict = Callable[[DictConfig, Shape], Peak]
"""The peak of a stage of one kind."""


def predict(config: DictConfig, peak: Predict) -> Peak | None:
    """The peak of a composed stage; None where nothing can be said."""
    shape = SHAPES.get(str(config.gr_vl.base_model)) if "base_model" in config.gr_vl else None
    if shape is None or config.gr_vl.device != "cuda":
        return None
    return peak(config, shape)


def update(shape: Shape, gpus: int, tokens: int, lora_rank: int = 0) -> float:
    """Gigabytes on a GPU while gradients are computed and applied."""
    trained = shape.adapters(lora_rank) if lora_rank else shape.parameters
    frozen = shape.parameters if lora_rank else 0
    states = (16 * trained + 4 * frozen) / gpus
    gathered = 4 * shape.parameters / shape.layers
    layer = 4 * shape.hidden + 3 * shape.intermediate
    activations = 2 * tokens * (shape.hidden * shape.layers + layer)
    logits = 6 * tokens * shape.vocabulary
    return (states + gathered + activations + logits) / GB + CONTEXT


def sft(config: DictConfig, shape: Shape) -> Peak:
    """Of training on rows as they are."""
    local, gpus = _gpus(config.trainer)
    data, engine = config.data, config.engine
    tokens = data.max_token_len_per_gpu if data.use_dynamic_bsz else data.micro_batch_size_per_gpu * data.max_length
    host = _host(shape, local, gpus, engine.param_offload, engine.optimizer_offload, processes=local)
    return Peak(update(shape, gpus, tokens, config.model.lora_rank), host)


def rl(config: DictConfig, shape: Shape) -> Peak:
    """Of training on answers that are sampled on the same devices."""
    local, gpus = _gpus(config.trainer)
    model, actor, rollout = (config.actor_rollout_ref[name] for name in ("model", "actor", "rollout"))
    sequence = config.data.max_prompt_length + config.data.max_response_length
    dynamic = actor.use_dynamic_bsz
    tokens = actor.ppo_max_token_len_per_gpu if dynamic else actor.ppo_micro_batch_size_per_gpu * sequence
    offload = (actor.fsdp_config.param_offload, actor.fsdp_config.optimizer_offload)
    resting = (4 * (not offload[0]) + 8 * (not offload[1])) * shape.parameters / gpus / GB
    sampling = rollout.gpu_memory_utilization * GPU_GB + resting + CONTEXT
    # A trainer and an engine on each GPU, the agent loops, the reward workers.
    processes = 2 * local + rollout.agent.num_workers + config.reward.num_workers
    host = _host(shape, local, gpus, *offload, processes=processes)
    return Peak(max(update(shape, gpus, tokens, model.lora_rank), sampling), host)


def generation(config: DictConfig, shape: Shape) -> Peak:
    """Of sampling alone."""
    rollout = config.actor_rollout_ref.rollout
    return Peak(rollout.gpu_memory_utilization * GPU_GB, rollout.n_gpus_per_node * PROCESS)


def _host(shape: Shape, local: int, gpus: int, params: bool, optimizer: bool, processes: int) -> float:
    offloaded = (4 * params + 8 * optimizer) * shape.parameters * local / gpus
    return (offloaded + 4 * shape.parameters) / GB + PROCESS * processes


def _gpus(trainer: DictConfig) -> tuple[int, int]:
    return int(trainer.n_gpus_per_node), int(trainer.n_gpus_per_node * trainer.nnodes)
