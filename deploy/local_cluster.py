"""A Ray cluster of several raylets on one machine, for tests and for trying `gr-vl submit`; Ctrl-C ends it.

    python deploy/local_cluster.py --nodes 2 --slots 1

Token authentication is on, with a token of its own, and the dashboard listens on the loopback device. Each node reports
`--slots` logical GPUs, which our CPU platform counts as devices. What a client needs is printed as shell exports.
"""

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from pathlib import Path

import psutil

HOST = "127.0.0.1"
PATIENCE = 300.0
"""Seconds until a cluster that has not come up is given up."""


def main() -> None:
    """Start the nodes, print how to reach them, wait for a signal, end them."""
    options = _options()
    folder = Path(options.folder or tempfile.mkdtemp(prefix="grvl"))
    folder.mkdir(parents=True, exist_ok=True)
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    nodes: list[subprocess.Popen[bytes]] = []
    try:
        for index in range(options.nodes):
            nodes.append(_start(index, options, folder, token))
            _wait(nodes, options.dashboard_port, token.read_text())
        sys.stdout.write(
            f"export RAY_ADDRESS=http://{HOST}:{options.dashboard_port}\n"
            f"export RAY_AUTH_MODE=token\nexport RAY_AUTH_TOKEN_PATH={token}\n"
        )
        sys.stdout.flush()
        nodes[0].wait()
    except KeyboardInterrupt:
        pass
    finally:
        _end(nodes)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2, help="raylets")
    parser.add_argument("--slots", type=int, default=1, help="logical GPUs of a raylet; 0 for none")
    parser.add_argument("--cpus", type=int, default=16, help="logical CPUs of a raylet")
    parser.add_argument("--port", type=int, default=6379, help="of Ray itself")
    parser.add_argument("--dashboard-port", type=int, default=8265, help="of the jobs interface")
    parser.add_argument("--folder", help="where the token and Ray's session go; short, since sockets lie below it")
    return parser.parse_args()


def _start(index: int, options: argparse.Namespace, folder: Path, token: Path) -> subprocess.Popen[bytes]:
    head = ["--head", f"--port={options.port}", f"--dashboard-port={options.dashboard_port}", f"--temp-dir={folder}"]
    common = [
        f"--node-ip-address={HOST}",
        f"--num-cpus={options.cpus}",
        f"--num-gpus={options.slots}",
        f"--object-store-memory={1 << 29}",
        # Two agents on one machine would ask for the same port.
        f"--dashboard-agent-listen-port={options.dashboard_port + 10 + index}",
        "--disable-usage-stats",
        "--block",
    ]
    place = head if index == 0 else [f"--address={HOST}:{options.port}"]
    # Ray keeps the name of the latest session below its temporary folder; a node must look where its head wrote.
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_TMPDIR": str(folder)}
    with (folder / f"node-{index}.log").open("wb") as log:
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("ray")), "start", *place, *common],
            env={key: value for key, value in os.environ.items() if key != "RAY_ADDRESS"} | variables,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _wait(nodes: list[subprocess.Popen[bytes]], port: int, token: str) -> None:
    until = time.monotonic() + PATIENCE
    while _alive(port, token) < len(nodes):
        if nodes[-1].poll() is not None or time.monotonic() > until:
            raise SystemExit("a node did not come up: read node-*.log in the cluster's folder")
        time.sleep(0.5)


def _alive(port: int, token: str) -> int:
    request = urllib.request.Request(
        f"http://{HOST}:{port}/nodes?view=summary", headers={"Authorization": f"Bearer {token}"}
    )
    with suppress(urllib.error.URLError, ConnectionError, TimeoutError), urllib.request.urlopen(request) as reply:
        nodes = json.load(reply)["data"]["summary"]
        return sum(node.get("raylet", {}).get("state") == "ALIVE" for node in nodes)
    return 0


def _end(nodes: list[subprocess.Popen[bytes]]) -> None:
    """End exactly the processes that were started here, never another cluster's (as `ray stop` would)."""
    family = []
    for node in nodes:
        with suppress(psutil.NoSuchProcess):
            family += [psutil.Process(node.pid), *psutil.Process(node.pid).children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=5)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()
    psutil.wait_procs(alive, timeout=20)


if __name__ == "__main__":
    main()
