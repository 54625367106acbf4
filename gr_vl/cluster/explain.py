"""Why a job waits: what it asks for against what is free, and what its runtime environment says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray.dashboard.utils import to_camel_case
from ray.job_submission import JobDetails

from gr_vl.cluster.client import Client

SHOWN = ("CPU", "GPU")
LOG_LINES = 5


@dataclass(frozen=True)
class Load:
    """What a cluster has, by the names that its dashboard gives resources."""

    nodes: tuple[Mapping[str, tuple[float, float]], ...]
    """Used and total of each node's resources."""
    waiting: tuple[str, ...] = ()
    """Demands that nothing serves yet, in words."""

    @classmethod
    def read(cls, status: Mapping[str, Any]) -> "Load":
        """From the dashboard's `/api/cluster_status`; a cluster whose monitor has not reported yet has no nodes."""
        report = ((status["data"].get("clusterStatus") or {}).get("loadMetricsReport")) or {}
        nodes = (report.get("usageByNode") or {}).values()
        demands = [*report.get("resourceDemand", ()), *report.get("pgDemand", ())]
        return cls(
            tuple({name: (used, total) for name, (used, total) in node.items()} for node in nodes),
            tuple(f"{count} x {json.dumps(shape)}" for shape, count in demands),
        )

    def total(self, name: str) -> float:
        """Of all nodes."""
        return sum(node.get(name, (0, 0))[1] for node in self.nodes)

    def free(self, name: str) -> float:
        """Of all nodes."""
        return sum(total - used for used, total in (node.get(name, (0, 0)) for node in self.nodes))

    def largest(self, name: str) -> float:
        """Of the node that has most of it."""
        return max((node.get(name, (0, 0))[1] for node in self.nodes), default=0.0)

    def words(self) -> str:
        """Free and total of what models run on."""
        return ", ".join(f"{name} {self.free(name):g} of {self.total(name):g} free" for name in SHOWN)


def shortage(asks: Mapping[str, float], load: Load) -> str | None:
    """What of `asks` the cluster cannot give to one process, now or ever, with the fix; None when it all fits.

    >>> shortage({"GPU": 2.0}, Load(({"GPU": (0.0, 1.0)},)))
    'asks for GPU 2, and no node has more than 1: add such a node, or ask for less'
    """
    for name, amount in asks.items():
        shown = to_camel_case(name)
        if (most := load.largest(shown)) < amount:
            return f"asks for {name} {amount:g}, and no node has more than {most:g}: add such a node, or ask for less"
    if not any(_fits(asks, node) for node in load.nodes):
        wanted = ", ".join(f"{name} {amount:g}" for name, amount in asks.items())
        return f"asks for {wanted} on one node, and others use them ({load.words()}): wait, or stop another job"
    return None


def why_pending(client: Client, job: JobDetails) -> str:
    """One line, or a few with the end of the runtime environment's log."""
    load = Load.read(client.fetch("/api/cluster_status"))
    asks = json.loads((job.metadata or {}).get("asks", "{}"))
    if found := shortage(asks, load):
        return found
    log = runtime_env_log(client)
    return "\n".join([f"its runtime environment is being set up ({load.words()})", *(f"  {line}" for line in log)])


def runtime_env_log(client: Client) -> list[str]:
    """The last lines that any node's runtime environment agent wrote."""
    lines: list[str] = []
    for node in client.fetch("/api/v0/nodes")["data"]["result"]["result"]:
        if node["state"] == "ALIVE":
            place = f"node_id={node['node_id']}"
            listed = client.fetch(f"/api/v0/logs?{place}&glob=runtime_env_setup-*.log")["data"]["result"]
            for name in [name for names in listed.values() for name in names]:
                text = client.text(f"/api/v0/logs/file?{place}&filename={name}&lines={LOG_LINES}")
                lines += [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-LOG_LINES:]


def _fits(asks: Mapping[str, float], node: Mapping[str, tuple[float, float]]) -> bool:
    pairs = ((amount, node.get(to_camel_case(name), (0.0, 0.0))) for name, amount in asks.items())
    return all(total - used >= amount for amount, (used, total) in pairs)
