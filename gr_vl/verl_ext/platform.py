"""verl on a machine without accelerators: the same trainers, workers and engines, over gloo and plain tensors."""

import contextlib
import resource
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import psutil
import torch
from verl.plugin.platform.platform_base import PlatformBase
from verl.plugin.platform.platform_manager import PlatformRegistry


def _peak_rss(*_: Any) -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class _CpuModule(ModuleType):
    """`torch.cpu` plus the memory calls that verl makes of a device module; peaks are resident set sizes in bytes."""

    memory_allocated = max_memory_allocated = max_memory_reserved = memory_reserved = staticmethod(_peak_rss)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def get_device_name(self, device: object = None) -> str:
        """The name by which verl looks up a device's peak speed."""
        return "CPU"

    def mem_get_info(self) -> tuple[int, int]:
        """Free and total bytes of the machine."""
        memory = psutil.virtual_memory()
        return memory.available, memory.total

    def empty_cache(self) -> None:
        """Nothing is cached."""

    ipc_collect = reset_peak_memory_stats = empty_cache

    def set_device(self, device: object) -> None:
        """There is one device."""

    def manual_seed(self, seed: int) -> None:
        """Seed the default generator."""
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def get_rng_state(self) -> torch.Tensor:
        """The default generator's state."""
        return torch.get_rng_state()

    def set_rng_state(self, state: torch.Tensor) -> None:
        """Restore the default generator."""
        torch.set_rng_state(state)


@PlatformRegistry.register("cpu")
class CpuPlatform(PlatformBase):
    """Logical slots in place of GPUs: Ray starts with `num_gpus=<slots>`, the resource that verl counts."""

    device_name = "cpu"
    vendor_name = "cpu"
    device_module = _CpuModule("gr_vl_cpu")

    def is_available(self) -> bool:
        """Always."""
        return True

    def current_device(self) -> Any:
        """The name, since verl passes this on to `tensor.to`."""
        return "cpu"

    def device_count(self) -> int:
        """One device a process."""
        return 1

    def set_device(self, device_index: int) -> None:
        """There is one device."""

    def synchronize(self, device_index: int | None = None) -> None:
        """Nothing runs asynchronously."""

    def manual_seed(self, seed: int) -> None:
        """Seed the default generator."""
        torch.manual_seed(seed)

    manual_seed_all = manual_seed

    def set_allocator_settings(self, settings: str) -> None:
        """There is no caching allocator to set."""

    def empty_cache(self) -> None:
        """Nothing is cached."""

    def get_device_capability(self, device_index: int = 0) -> tuple[int | None, int | None]:
        """No compute capability."""
        return None, None

    def communication_backend_name(self) -> str:
        """gloo."""
        return "gloo"

    def visible_devices_envvar(self) -> str:
        """Ray hides logical GPU slots by this variable."""
        return "CUDA_VISIBLE_DEVICES"

    @contextlib.contextmanager
    def nvtx_range(self, msg: str) -> Iterator[None]:
        """No profiler ranges."""
        yield

    def profiler_start(self) -> None:
        """No device profiler."""

    def profiler_stop(self) -> None:
        """No device profiler."""

    def ray_resource_name(self) -> str:
        """The resource that verl counts slots by."""
        return "GPU"

    def ray_noset_envvars(self) -> list[str]:
        """Keep Ray from rewriting the visible devices."""
        return ["RAY_EXPERIMENTAL_NOSET_CUDA_VISIBLE_DEVICES"]

    def is_ipc_supported(self) -> bool:
        """No device memory to share."""
        return False

    def cudart(self) -> None:
        """No runtime."""
