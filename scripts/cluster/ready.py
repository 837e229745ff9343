"""Wait until the cluster is whole; then, with Nomad, deploy the servers."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from scripts.backends import probe
from scripts.backends.instance import Failed
from scripts.cluster import plan

WITHIN_S = 900.0
POLL_S = 1.0
JOBS = Path("/opt/cecochat/checkout/jobs")
ETC = Path("/etc/cecochat")


def ready(nodes: int) -> None:
    """Raises Failed, with what is still missing."""
    for what, question in questions(nodes).items():
        _until(what, question)
    if not (ETC / "note").exists():
        _until("Nomad's clients", lambda: _nomad_clients() == nodes)
        for name, fewest in {"messaging": 3, "connect": nodes}.items():
            _run("cecochat", "config", "set", f"scale.{name}.min", str(fewest))
        _run("cecochat", "deploy", "--jobs", str(JOBS), "--vars", str(ETC / "cluster.toml"))
    _until("CecoChat", _healthy)


def questions(nodes: int) -> dict[str, Callable[[], bool]]:
    """What has to be there -> whether it is."""
    addresses = [plan.address(number) for number in range(1, nodes + 1)]
    return {
        "Consul's servers": lambda: len(_consul_peers()) == nodes,
        "Kafka's brokers": lambda: all(
            probe.answered(probe.kafka, address, plan.KAFKA) for address in addresses
        ),
        "Cassandra's nodes": lambda: all(
            len(probe.cassandra_peers(address, plan.CASSANDRA) or ()) == nodes - 1
            for address in addresses
        ),
        "Redis": lambda: probe.answered(probe.redis, addresses[0], plan.REDIS),
    }


def _consul_peers() -> list[str]:
    return _json(plan.CONSUL, "/v1/status/peers")


def _nomad_clients() -> int:
    nodes = _json(plan.NOMAD, "/v1/nodes")
    return sum(1 for node in nodes if node["Status"] == "ready")


def _healthy() -> bool:
    done = subprocess.run(["cecochat", "status"], capture_output=True, text=True, check=False)
    return done.returncode == 0


def _until(what: str, question: Callable[[], bool]) -> None:
    started = time.monotonic()
    while not question():
        if time.monotonic() - started > WITHIN_S:
            raise Failed(
                f"{what} did not come within {WITHIN_S:.0f} s: `journalctl` of the guests says why"
            )
        time.sleep(POLL_S)
    print(f"{what}: there after {time.monotonic() - started:.0f} s", flush=True)


def _run(*words: str) -> None:
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"{done.stdout}{done.stderr}\n`{' '.join(words)}` failed")


def _json(port: int, path: str) -> list[Any]:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", path)
        answer = connection.getresponse()
        found: list[Any] = json.loads(answer.read()) if answer.status == 200 else []
    except (OSError, http.client.HTTPException, ValueError):
        return []
    return found
