"""What `gr-vl serve` may be told."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from gr_vl import limits
from gr_vl.errors import ConfigError

SMALLEST = 0.001
"""MiB: a body with a short text in it."""


@dataclass(frozen=True)
class Settings:
    """Limits are per request unless they say otherwise. Raises ConfigError when one is impossible."""

    model: Path
    host: str = "127.0.0.1"
    port: int = 8000
    backend_url: str | None = None
    """An OpenAI-compatible server that runs the guard; None to run it in this process."""
    backend_model: str | None = None
    """The guard's name there; the folder's path when None, as `vllm serve DIR` calls it."""
    api_key_env: str = "GR_VL_API_KEY"
    """Environment variable with the key that callers must bring; unset or empty asks for none, on loopback alone."""
    backend_key_env: str = "GR_VL_BACKEND_API_KEY"
    image_hosts: tuple[str, ...] = ()
    """Hosts from which image URLs are fetched, over https; none by default."""
    max_body_mb: float = 32.0
    max_total_mb: float = 256.0
    """Bodies of all requests in progress together."""
    max_connections: int = 512
    """Open at once, whatever they do; each holds a file, and systems give a process 1,024 by default."""
    max_items: int = 32
    queue: int = 64
    """Exchanges that wait at most; over it, 429."""
    batch_size: int = 16
    max_tokens: int = 1024
    timeout: float = 60.0
    """Seconds for the head of a request, and again from there to its answer."""
    grace: int = 30
    """Seconds that requests in progress get after SIGTERM."""

    def __post_init__(self) -> None:
        sizes = ("max_body_mb", "max_total_mb", "max_connections", "max_items", "queue", "batch_size", "max_tokens")
        for name in (*sizes, "timeout", "grace"):
            limits.above(f"--{name.replace('_', '-')}", getattr(self, name), reached=name == "grace")
        if not SMALLEST <= self.max_body_mb <= self.max_total_mb:
            rule = f"must be {SMALLEST:g} to {self.max_total_mb:g}, which all bodies together may have"
            raise ConfigError(f"--max-body-mb {self.max_body_mb:g}: {rule}")
        if self.max_items > self.queue:
            raise ConfigError(f"--max-items={self.max_items}: must fit into --queue={self.queue}; raise that one")
        if not 0 <= self.port < 65536:
            raise ConfigError(f"--port={self.port}: must be 0 to 65535")
        if not self.api_key and not _is_loopback(self.host):
            raise ConfigError(
                f"--host={self.host}: others can reach it; set {self.api_key_env} to a key, or use 127.0.0.1"
            )

    @property
    def api_key(self) -> str:
        """The key, without white space around it, which no header can carry; or an empty string."""
        return os.environ.get(self.api_key_env, "").strip()


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
