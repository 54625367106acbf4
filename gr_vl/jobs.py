"""Ray for a stage: join the cluster of RAY_ADDRESS, or start one on this machine, with what every worker needs."""

import os
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from gr_vl import stages
from gr_vl.errors import ConfigError

PLUGIN = "gr_vl.verl_ext.plugin"
LOGS = ("VERL_FILE_LOGGER_PATH", "TENSORBOARD_DIR")
"""Where the launcher wants a stage's metrics: a cluster's workers do not have its environment."""

SOCKET = "ray/session_2026-12-31_23-59-59_999999_4194304/sockets/plasma_store"
"""The longest name of a socket of Ray 2.60 below its folder of temporary files; the last number is a process."""
SOCKET_BYTES = 107
"""What a Unix socket's path may hold on Linux."""


def check_sockets(kind: str) -> None:
    """Refuse a folder of temporary files below which Ray's sockets would have no room. Raises ConfigError."""
    name = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), None)
    if not stages.get(kind).ray or "RAY_ADDRESS" in os.environ or name is None:
        return
    folder, most = os.environ[name], SOCKET_BYTES - len(SOCKET) - 1
    if (length := len(os.fsencode(Path(folder)))) > most:
        raise ConfigError(
            f"{name}={folder}: {length} bytes leave no room for Ray's sockets, at most {most} do; set RAY_TMPDIR=/tmp"
        )


def environment(device: str) -> dict[str, str]:
    """Variables that the driver and every worker of a stage need before they import verl."""
    common = {"VERL_USE_EXTERNAL_MODULES": PLUGIN, "TOKENIZERS_PARALLELISM": "false", "TRANSFER_QUEUE_ENABLE": "1"}
    if device == "cuda":
        return common
    # Many processes share few cores: a thread that waits must not spin.
    return common | {
        "VERL_PLATFORM": "cpu",
        "OMP_WAIT_POLICY": "PASSIVE",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
        # TransferQueue wants eight, and warns at every read on a machine that has fewer.
        "TQ_NUM_THREADS": "1",
    }


def start_ray(config: DictConfig, **variables: str) -> None:
    """Connect to Ray with `variables` in every worker. On CPU, logical GPU slots stand for what verl counts."""
    import ray

    from gr_vl.verl_ext import entry

    runtime_env = entry.runtime_env()
    logs = {name: os.environ[name] for name in LOGS if name in os.environ}
    runtime_env["env_vars"] |= environment(config.gr_vl.device) | logs | variables
    options: dict[str, Any] = {"runtime_env": runtime_env, "log_to_driver": True}
    if "RAY_ADDRESS" not in os.environ:
        options["include_dashboard"] = False
        if config.gr_vl.device == "cpu":
            options |= {"num_cpus": 16, "num_gpus": config.trainer.n_gpus_per_node, "object_store_memory": 1 << 30}
    try:
        ray.init(**options)
    except (ConnectionError, ValueError) as error:
        if (address := os.environ.get("RAY_ADDRESS")) is None:
            raise
        why = " ".join(str(error).split())
        raise ConfigError(
            f"RAY_ADDRESS={address}: no cluster answers ({why}); start it, or unset RAY_ADDRESS"
        ) from None
