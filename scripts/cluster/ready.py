"""Wait until the cluster is whole; then, with Nomad, deploy the servers."""

from __future__ import annotations

import http.client
import json
import ssl
import subprocess
import time
from collections.abc import Callable
from contextlib import closing
from functools import cache, partial
from pathlib import Path
from typing import Any

from scripts.backends import probe
from scripts.backends.instance import Failed
from scripts.cluster import acl, plan, secure

WITHIN_S = 900.0
POLL_S = 1.0
SAY_EVERY_S = 30.0
UNANSWERED = 3  # how `cecochat` ends then
CONSUL = "Consul's servers"
CHECKOUT = Path("/opt/cecochat/checkout")
ETC = Path("/etc/cecochat")


def ready(nodes: int) -> None:
    """Wait for all machines, and deploy. Raises Failed, which says what is still missing."""
    _backends(nodes)
    if _nomad_runs():
        for name, fewest in {"messaging": 3, "connect": nodes}.items():
            key = f"scale.{name}.min"
            _until(key, partial(_done, "config", "set", key, str(fewest)), 1)
        jobs, values = str(CHECKOUT / "jobs"), str(ETC / "cluster.toml")
        _until("CecoChat's jobs", partial(_done, "deploy", "--jobs", jobs, "--vars", values), 1)
    _until("CecoChat", _healthy, 1)


def wait(nodes: int) -> None:
    """Wait for a cluster that is deployed already."""
    _backends(nodes)
    _until("CecoChat", _healthy, 1)


def _backends(nodes: int) -> None:
    for what, (count, wanted) in questions(nodes).items():
        _until(what, count, wanted)
        if what == CONSUL:  # it comes first, because nobody may ask it anything before
            _acl()
    if _nomad_runs():
        _until("Nomad's clients", _nomad_clients, nodes)


def returns(here: plan.Plan, kafka: Path) -> bool:
    """Whether this node is new or has lost its disk, while others are there already."""
    others = (plan.address(number) for number in here.numbers if number != here.node)
    return not kafka.exists() and any(
        probe.answered(probe.kafka, other, plan.KAFKA) for other in others
    )


def in_quorum(here: plan.Plan) -> None:
    """Wait until the broker of this node answers, so that the next node may return. Raises Failed.

    It answers once Kafka's quorum has a leader. Two nodes with empty disks could elect each other.
    """
    answers = partial(probe.answered, probe.kafka, here.address, plan.KAFKA)
    _until("Kafka's broker of this node", answers, 1)


def _acl() -> None:
    """Make the ACL, on the guest that has the token for it."""
    secrets = secure.read()
    if secrets and secrets.management:
        changed = acl.apply(secrets.management, secrets.tokens)
        print(f"Consul's ACL: {', '.join(changed) or 'as it was'}", flush=True)


def _nomad_runs() -> bool:
    return not (ETC / "note").exists()


def questions(nodes: int) -> dict[str, tuple[Callable[[], int], int]]:
    """Return how to count each thing that has to be there, and how many there must be."""
    addresses = [plan.address(number) for number in range(1, nodes + 1)]
    return {
        CONSUL: (lambda: len(_consul_peers()), nodes),
        "Kafka's brokers": (
            lambda: sum(probe.answered(probe.kafka, each, plan.KAFKA) for each in addresses),
            nodes,
        ),
        "Cassandra's nodes": (
            lambda: sum(_knows(each, nodes - 1) for each in addresses),
            nodes,
        ),
        "Redis": (lambda: probe.answered(probe.redis, addresses[0], plan.REDIS), 1),
        "PostgreSQL": (lambda: probe.answered(probe.postgres, addresses[0], plan.POSTGRES), 1),
    }


def _knows(address: str, others: int) -> bool:
    """Whether a node of Cassandra answers, and has so many others."""
    peers = probe.cassandra_peers(address, plan.CASSANDRA)
    return peers is not None and len(peers) == others


def _consul_peers() -> list[str]:
    return _json(plan.CONSUL, "/v1/status/peers")


def _nomad_clients() -> int:
    nodes = _json(plan.NOMAD, "/v1/nodes", secure.client())
    # To Nomad, a machine that was made again is another one, beside the old one for a while.
    return len({node["Name"] for node in nodes if node["Status"] == "ready"})


def _healthy() -> bool:
    words = ["timeout", "30", "cecochat", "status"]
    return not subprocess.run(words, capture_output=True, check=False).returncode


def _until(what: str, count: Callable[[], int], wanted: int) -> None:
    """Wait for something, and print the progress, since it takes minutes on a new cluster."""
    started = said = time.monotonic()
    while (there := count()) != wanted:
        now = time.monotonic()
        if now - started > WITHIN_S:
            raise Failed(
                f"{what}: {there:d} of {wanted} after {WITHIN_S:.0f} s; `systemctl status` and "
                "`journalctl` of the guests say why"
            )
        if now - said > SAY_EVERY_S:
            said = now
            print(f"{what}: {there:d} of {wanted} after {now - started:.0f} s", flush=True)
        time.sleep(POLL_S)
    print(f"{what}: there after {time.monotonic() - started:.0f} s", flush=True)


def _done(*words: str) -> int:
    """Run `cecochat ...`. Return False if nothing answers, as while another Nomad is restarted.

    Raises Failed if it failed for another reason.
    """
    done = subprocess.run(["cecochat", *words], capture_output=True, text=True, check=False)
    if done.returncode not in (0, UNANSWERED):
        raise Failed(f"{done.stdout}{done.stderr}\n`cecochat {' '.join(words)}` failed")
    if done.returncode:
        _say(done.stderr.strip())
    return int(not done.returncode)


@cache
def _say(text: str) -> None:
    """Print a text once, however often it comes."""
    print(text, flush=True)


def _json(port: int, path: str, tls: ssl.SSLContext | None = None) -> list[Any]:
    connection = (
        http.client.HTTPSConnection("127.0.0.1", port, timeout=5, context=tls)
        if tls
        else http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    )
    try:
        with closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            found: list[Any] = json.loads(answer.read()) if answer.status == 200 else []
    except (OSError, http.client.HTTPException, ValueError):
        return []
    return found
