"""The `transformers` rollout engine of verl: one server a replica, and the sender of fresh weights to it."""

import os
from collections.abc import AsyncIterator, Iterable
from typing import Any

import ray
import torch
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.rollout.base import _ROLLOUT_REGISTRY, BaseRollout
from verl.workers.rollout.replica import RolloutMode, RolloutReplica, RolloutReplicaRegistry
from verl.workers.rollout.utils import ensure_async_iterator

NAME = "transformers"


def register() -> None:
    """Make `actor_rollout_ref.rollout.name=transformers` known to verl."""
    _ROLLOUT_REGISTRY[(NAME, "async")] = f"{__name__}.WeightSender"
    RolloutReplicaRegistry.register(NAME, lambda: Replica)


def _actor_name(replica_rank: int) -> str:
    return f"gr_vl_{NAME}_server_{replica_rank}"


class Replica(RolloutReplica):
    """One server on the node of its trainer workers, or anywhere when it stands alone."""

    async def init_standalone(self) -> None:
        """Launch without trainer workers: the server loads its weights from the model folder."""
        self.rollout_mode = RolloutMode.STANDALONE
        await self.launch_servers()

    async def launch_servers(self) -> None:
        """Start the server actor and wait until its model is loaded."""
        # Not at the top: Ray imports the server's module first in its process, and that imports this one by the plugin.
        from gr_vl.verl_ext.server import TransformersServer

        options: dict[str, Any] = {"name": _actor_name(self.replica_rank), "max_concurrency": self.max_concurrency}
        if self.workers:
            node = await self.workers[0].__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=node, soft=False)
        model_config = omega_conf_to_dataclass(self.model_config)
        server = ray.remote(TransformersServer).options(num_cpus=0, **options).remote(self.config, model_config)
        await server.idle.remote()
        self.servers = [server]
        self._server_handle, self._server_address = server, _actor_name(self.replica_rank)

    async def sleep(self) -> None:
        """Weights stay where they are: on CPU nothing competes for device memory."""

    wake_up = clear_kv_cache = release_kv_cache = resume_kv_cache = sleep


class WeightSender(BaseRollout):
    """Lives in every trainer worker; the first rank of each replica sends, the others only take part in gathering."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        ranks = self.config.tensor_model_parallel_size * self.config.data_parallel_size
        self.replica_rank, rank = divmod(int(os.environ["RANK"]), ranks)
        self.sends = rank == 0
        self.bucket_bytes = self.config.checkpoint_engine.update_weights_bucket_megabytes << 20

    async def resume(self, tags: list[str]) -> None:
        """Nothing was released."""

    async def release(self) -> None:
        """Nothing to release."""

    async def update_weights(
        self, weights: Iterable[tuple[str, torch.Tensor]], global_steps: int | None = None, **_: Any
    ) -> None:
        """Stream named tensors to the server, a bucket at a time. Every rank must exhaust `weights`: it gathers."""
        server = ray.get_actor(_actor_name(self.replica_rank)) if self.sends else None
        async for bucket in self._buckets(weights):
            if server is not None:
                await server.load_weights.remote(bucket)
        if server is not None and global_steps is not None:
            await server.set_global_steps.remote(global_steps)

    async def _buckets(self, weights: Any) -> AsyncIterator[dict[str, torch.Tensor]]:
        bucket: dict[str, torch.Tensor] = {}
        async for name, tensor in ensure_async_iterator(weights):
            bucket[name] = tensor.detach()
            if sum(t.nbytes for t in bucket.values()) >= self.bucket_bytes:
                yield bucket
                bucket = {}
        if bucket:
            yield bucket
