"""Decides what runs on which node of the cluster, and with which settings. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NETWORK = "192.168.56"  # as in the Vagrantfile; what VirtualBox allows without being asked

# The well-known ports of each backend.
CONSUL, NOMAD, KAFKA, CASSANDRA, REDIS, POSTGRES = 8500, 4646, 9092, 9042, 6379, 5432
JAEGER, PROMETHEUS = 16686, 9090
CONNECT = 8080  # the port of each node's edge, through which clients reach all of its servers
CONSUL_TLS = CONSUL + 5  # after those of scripts/backends/consul.py
METRICS_TOKEN = "/etc/cecochat/metrics-token"  # noqa: S105 - a file
SECURE = "/etc/cecochat/secure"  # what secure.py writes
EVERYWHERE = "0.0.0.0"  # noqa: S104 - ports of guests are forwarded to other addresses of theirs

OTLP_BESIDE_JAEGER = -368  # scripts/backends/jaeger.py: 17318 where the pages are at 17686

COUNTS = {"messaging": 3, "materialize": 2, "history": 2, "hooks": 1, "control": 2}
"""How many servers each set has. There is a connect server on each node."""


SECURED = {
    "CECOCHAT_CONSUL_TOKEN_FILE": f"{SECURE}/token-cecochat",
    "CECOCHAT_NOMAD_TLS": "true",
    "CECOCHAT_BACKENDS_CA_FILE": f"{SECURE}/ca.pem",
    "CECOCHAT_BACKENDS_CERT_FILE": f"{SECURE}/cert.pem",
    "CECOCHAT_BACKENDS_KEY_FILE": f"{SECURE}/key.pem",
}
"""Settings of the servers and commands if SECURE=1."""


@dataclass(frozen=True)
class Server:
    """A server of CecoChat on a node without Nomad."""

    service: str
    number: int

    @property
    def name(self) -> str:
        return f"{self.service}-{self.number}"


@dataclass(frozen=True)
class Plan:
    """The plan for one node. `node` is its number, from 1 to `nodes`."""

    node: int
    nodes: int
    kafka_cluster_id: str
    secured: bool = False

    @property
    def name(self) -> str:
        return f"server{self.node}"

    @property
    def address(self) -> str:
        return address(self.node)

    @property
    def numbers(self) -> range:
        return range(1, self.nodes + 1)

    @property
    def replication(self) -> int:
        return min(3, self.nodes)

    def everywhere(self, port: int) -> str:
        """Return host:port of each node, separated by commas."""
        return ",".join(f"{address(number)}:{port}" for number in self.numbers)

    def backends(self) -> dict[str, list[str]]:
        """Return the arguments of `python3 -m scripts.backends run` for each backend."""
        quorum = ",".join(f"{number}@{address(number)}:{KAFKA + 1}" for number in self.numbers)
        found = {
            "consul": [
                *("--host", EVERYWHERE, "--port", str(CONSUL), "--bind", self.address),
                *("--node-name", self.name, "--servers", self.everywhere(CONSUL + 3)),
            ],
            "kafka": [
                *("--host", self.address, "--port", str(KAFKA), "--node-id", str(self.node)),
                *("--quorum", quorum, "--cluster-id", self.kafka_cluster_id, "--heap", "384m"),
            ],
            "cassandra": [
                *("--host", self.address, "--port", str(CASSANDRA), "--heap", "512m"),
                *("--nodes", ",".join(map(address, self.numbers))),
            ],
        }
        if self.secured:
            found["consul"] += ["--settings", f"{SECURE}/consul.json"]
        return found if self.node > 1 else found | self._of_the_first_node()

    def _of_the_first_node(self) -> dict[str, list[str]]:
        consul = ["--consul", f"{self.address}:{CONSUL}"]
        if self.secured:
            consul = ["--consul", f"127.0.0.1:{CONSUL}"]
            consul += ["--consul-token", f"{SECURE}/token-prometheus"]
        return {
            "redis": ["--host", self.address, "--port", str(REDIS)],
            "postgres": ["--host", self.address, "--port", str(POSTGRES)],
            "jaeger": ["--host", EVERYWHERE, "--port", str(JAEGER)],
            "prometheus": [
                *("--host", EVERYWHERE, "--port", str(PROMETHEUS), *consul),
                *("--token", METRICS_TOKEN),
            ],
        }

    def settings(self) -> dict[str, str]:
        """Return the CECOCHAT_* variables of this node, except for the servers' own ports."""
        first = address(1)
        found = {
            "CECOCHAT_CONSUL": f"127.0.0.1:{CONSUL}",
            "CECOCHAT_KAFKA": self.everywhere(KAFKA),
            "CECOCHAT_CASSANDRA": self.everywhere(CASSANDRA),
            "CECOCHAT_REDIS": f"{first}:{REDIS}",
            "CECOCHAT_POSTGRES": f"{first}:{POSTGRES}",
            "CECOCHAT_REPLICATION": str(self.replication),
            "CECOCHAT_PARTITIONS": "12",
            "CECOCHAT_OTLP_URL": f"http://{first}:{JAEGER + OTLP_BESIDE_JAEGER}",
            "CECOCHAT_JAEGER_URL": f"http://{first}:{JAEGER}",
            "CECOCHAT_TOKEN_SECRET_FILE": "/etc/cecochat/token-secret",
            "CECOCHAT_CLUSTER_SECRET_FILE": "/etc/cecochat/cluster-secret",
            "CECOCHAT_EDGE_CONNECTIONS_PER_ADDRESS": "4000",  # all clients of a test have one
            "CECOCHAT_EDGE_REQUESTS_PER_ADDRESS": "4000",
        }
        return found | SECURED if self.secured else found

    def servers(self) -> list[Server]:
        """Return the servers of this node without Nomad. Each set is spread over several nodes."""
        everyone = [
            Server(service, number)
            for service, count in COUNTS.items()
            for number in range(1, count + 1)
        ]
        dealt = [
            server for at, server in enumerate(everyone, 1) if at % self.nodes + 1 == self.node
        ]
        return [*dealt, Server("connect", self.node)]


def address(number: int) -> str:
    """Return the address of a node, by its number."""
    return f"{NETWORK}.{10 + number}"


def ports_of(server: Server, host: str) -> dict[str, str]:
    """Return the ports of a server: any free ones, since the edge finds them in Consul.

    A messaging server also has a port of its own at the edge.
    """
    names = {
        "connect": ("CONNECT_PORT", "CONNECT_GRPC_PORT", "CONNECT_HEALTH_PORT"),
        "messaging": ("MESSAGING_PORT", "MESSAGING_WEBSOCKET_PORT", "MESSAGING_HEALTH_PORT"),
        "materialize": ("MATERIALIZE_HEALTH_PORT",),
        "history": ("HISTORY_PORT", "HISTORY_HTTP_PORT", "HISTORY_HEALTH_PORT"),
        "hooks": ("HOOKS_HEALTH_PORT",),
        "control": ("CONTROL_PORT",),
    }[server.service]
    ports = {"CECOCHAT_HOST": host, "CECOCHAT_INTERNAL_HOST": host}
    ports |= {f"CECOCHAT_{name}": "0" for name in names}
    if server.service in FOR_CLIENTS:
        own = server.number if server.service == "messaging" else 0
        ports["CECOCHAT_EDGE"] = f"{host}:{CONNECT + own}"
    return ports


FOR_CLIENTS = ("connect", "messaging", "history")
EDGE_HOST = "${attr.unique.network.ip-address}"
"""How Nomad's variables name the address of a node, which is what clients are told."""


def job_values(plan: Plan, version: str) -> dict[str, object]:
    """Return the values for `cecochat deploy --vars`."""
    common = plan.settings()
    addresses = {name: common.pop(f"CECOCHAT_{name.upper()}") for name in ADDRESSED}
    sets: Mapping[str, object] = {name: {"count": count} for name, count in COUNTS.items()}
    return {
        "version": version,
        "command": "/opt/cecochat/venv/bin/cecochat",
        **addresses,
        "edge": EDGE_HOST,
        "edge_port": CONNECT,
        "settings": common,
        **sets,
        "connect": {"count": plan.nodes, "port": 0},
    }


ADDRESSED = ("consul", "kafka", "cassandra", "redis", "postgres")
