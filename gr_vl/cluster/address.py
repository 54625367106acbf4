"""Where the cluster's dashboard is, and whether it may be talked to.

The jobs interface runs whatever it is sent (CVE-2023-48022), so a dashboard that others can reach must ask for a token.
`ray start` of 2.60 switches tokens on by itself once one exists; a client has to be told with RAY_AUTH_MODE=token.
"""

import ipaddress
import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from gr_vl.errors import ConfigError

PATIENCE = 5.0
"""Seconds that a dashboard may take to accept a connection."""
TOKEN_FILE = Path("~/.ray/auth_token")
HELP = "copy the head node's ~/.ray/auth_token here, or set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"


def dashboard(given: str | None, *, insecure: bool = False) -> str:
    """The URL of the dashboard: `given`, or RAY_ADDRESS. Raises ConfigError when there is none or it is not safe."""
    address = given or os.environ.get("RAY_ADDRESS")
    if not address:
        raise ConfigError("RAY_ADDRESS is not set; use --address http://HOST:8265, the dashboard of the cluster")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"RAY_ADDRESS={address!r} must be the dashboard's address; use http://HOST:8265")
    token = has_token()
    if not (insecure or token or _is_loopback(parts.hostname)):
        raise ConfigError(
            f"RAY_ADDRESS={address}: this machine is not yours alone, and there is no token: {HELP}; "
            f"or tunnel it (ssh -L 8265:localhost:8265 HEAD), or accept the risk with --insecure"
        )
    return address.rstrip("/")


def has_token() -> bool:
    """Whether a token would be sent; switches Ray's clients to tokens where one lies ready and nobody chose a mode."""
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or str(TOKEN_FILE.expanduser())
    ready = bool(os.environ.get("RAY_AUTH_TOKEN")) or Path(path).is_file()
    if ready:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    return ready and os.environ["RAY_AUTH_MODE"] == "token"


def reach(url: str) -> None:
    """Raises ConfigError when nothing accepts a connection there: Ray itself would try for minutes."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        socket.create_connection((str(parts.hostname), port), PATIENCE).close()
    except OSError as error:
        raise ConfigError(
            f"RAY_ADDRESS={url}: no dashboard answers ({error}); start the cluster, or tunnel to it"
        ) from None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
