"""The Nomad jobs of the servers, from one template: `python -m scripts.reference` writes them.

In jobs/server.hcl.template, `@name` stands for a word, and alone in a line for a block of lines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

TEMPLATE: Final = Path(__file__).resolve().parent.parent / "jobs" / "server.hcl.template"


def variable(name: str, kind: str, default: str, description: str) -> str:
    """Return the declaration of a variable in HCL."""
    return (
        f'variable "{name}" {{\n'
        f"  type        = {kind}\n"
        f"  default     = {default}\n"
        f'  description = "{description}"\n'
        "}\n\n"
    )


PORT: Final = variable("port", "number", "8080", "port for clients; one server on each node")
NOMAD: Final = variable(
    "nomad",
    "string",
    '"127.0.0.1:4646"',
    "host:port of the Nomad agent that scales the other jobs",
)
EDGE: Final = variable(
    "edge",
    "string",
    '""',
    "host of the node that clients are told, such as $${meta.public_host}, if jobs/edge.nomad.hcl "
    "runs; empty means that clients reach the servers themselves",
)
EDGE_PORT: Final = variable("edge_port", "number", "8443", "port of jobs/edge.nomad.hcl")

TLS: Final = '  tls    = lookup(var.settings, "CECOCHAT_TLS_CERT_FILE", "") != ""\n'
SCALING: Final = """\
    # Control changes the count within these limits, by what the servers carry.
    scaling {
      enabled = true
      min     = 1
      max     = 8
    }

"""
STATIC_PORT: Final = """\
      port "connect" {
        static = var.port
      }
"""
EDGE_LISTENS: Final = '      port "edge" {} # where the edge of the node listens for this server\n'
GRPC_CHECK: Final = """
      check {{
        name            = "grpc"
        type            = "grpc"
        port            = "grpc"
        grpc_service    = "cecochat.v1.{service}"
        grpc_use_tls    = local.tls
        tls_skip_verify = true
        interval        = "5s"
        timeout         = "2s"
      }}
"""
BACKENDS: Final = {f"CECOCHAT_{name.upper()}": f"var.{name}" for name in (
    "consul", "kafka", "cassandra", "redis", "postgres",
)}  # fmt: skip


def told(edge_port: str) -> str:
    """Return the address that clients are told, if there is an edge on the node."""
    return f'var.edge == "" ? "" : "${{var.edge}}:{edge_port}"'


@dataclass(frozen=True, kw_only=True)
class Job:
    """What distinguishes one job from the others."""

    name: str
    says: str
    leaves: str  # what it does once it is its turn to stop
    count: int = 2
    cpu: int = 300
    memory: int = 384
    variables: str = ""
    port: str = "health"  # of the service
    ports: str = ""
    grpc: str = ""  # the service that it is asked for
    scales: bool = True
    health_port: str = ""
    edge: str = ""
    canary: str = "1 # the new version proves itself beside the old one first"
    promote: str = "true"
    further_ports: tuple[tuple[str, str], ...] = ()
    more: tuple[tuple[str, str], ...] = ()

    @property
    def speaks_tls(self) -> bool:
        """Whether clients connect to it over gRPC."""
        return self.port == "grpc"

    def env(self) -> str:
        """Return the environment variables of the task, aligned."""
        named: dict[str, str] = {}
        if self.edge:
            named["CECOCHAT_EDGE"] = self.edge
        if self.port != "health":
            named["CECOCHAT_HOST"] = f'"${{NOMAD_IP_{self.port}}}"'
            named[f"CECOCHAT_{self.name.upper()}_PORT"] = f'"${{NOMAD_PORT_{self.port}}}"'
        named |= {name: f'"${{NOMAD_PORT_{port}}}"' for name, port in self.further_ports}
        named["CECOCHAT_INTERNAL_HOST"] = '"${NOMAD_IP_health}"'
        health = self.health_port or f"CECOCHAT_{self.name.upper()}_HEALTH_PORT"
        named[health] = '"${NOMAD_PORT_health}"'
        named |= BACKENDS | dict(self.more)
        width = max(map(len, named))
        return "".join(f"        {key:{width}} = {value}\n" for key, value in named.items())

    def text(self) -> str:
        """Return the whole file."""
        words = {
            "name": self.name, "says": self.says, "leaves": self.leaves, "count": self.count,
            "cpu": self.cpu, "memory": self.memory, "port": self.port, "canary": self.canary,
            "promote": self.promote,
        }  # fmt: skip
        blocks = {
            "variables": self.variables,
            "local": TLS if self.speaks_tls else "",
            "scaling": SCALING if self.scales else "",
            "ports": self.ports,
            "grpc": GRPC_CHECK.format(service=self.grpc) if self.grpc else "",
            "env": self.env(),
        }
        text = TEMPLATE.read_text().partition("\n")[2]
        text = re.sub(r"^@(\w+)\n", lambda found: blocks[found[1]], text, flags=re.MULTILINE)
        return re.sub(r"@(\w+)", lambda found: str(words[found[1]]), text)


WEBSOCKET: Final = '      port "websocket" {}\n'
HTTP: Final = '      port "http" {}\n'
GRPC: Final = '      port "grpc" {}\n'
JOBS: Final = (
    Job(
        name="messaging",
        says="Messaging servers. Each owns partitions of the log, and serves the streams of their "
        "users.",
        leaves="hands over its partitions, sends its clients on and finishes its appends; agents "
        "limit this to max_kill_timeout, 30s",
        cpu=500,
        memory=512,
        variables=EDGE,
        port="grpc",
        ports=GRPC + WEBSOCKET + EDGE_LISTENS,
        further_ports=(("CECOCHAT_MESSAGING_WEBSOCKET_PORT", "websocket"),),
        grpc="Messaging",
        edge=told("${NOMAD_PORT_edge}"),
    ),
    Job(
        name="materialize",
        says="Materialize servers. They write the log to the history.",
        leaves="finishes and commits what it is writing",
        cpu=500,
    ),
    Job(
        name="history",
        says="History servers. They answer queries about the history.",
        leaves="answers the queries under way",
        variables=EDGE + EDGE_PORT,
        port="grpc",
        ports=GRPC + HTTP,
        further_ports=(("CECOCHAT_HISTORY_HTTP_PORT", "http"),),
        grpc="History",
        edge=told("${var.edge_port}"),
    ),
    Job(
        name="connect",
        says="Connect servers. They tell clients where to go.",
        leaves="answers the lookups under way",
        count=1,
        memory=256,
        variables=PORT + EDGE + EDGE_PORT,
        port="connect",
        ports=STATIC_PORT + GRPC,
        further_ports=(("CECOCHAT_CONNECT_GRPC_PORT", "grpc"),),
        edge=told("${var.edge_port}"),
        canary="var.port == 0 ? 1 : 0 # two servers cannot have the same port of a node; with any "
        "port, the new version proves itself beside the old one first",
        promote="var.port == 0",
    ),
    Job(
        name="hooks",
        says="Hook servers. They send webhooks to the endpoints of `cecochat hooks`.",
        leaves="commits what endpoints have taken",
    ),
    Job(
        name="control",
        says="Control servers. One of them leads: it assigns partitions and scales the other sets. "
        "The other stands by.",
        leaves="gives up the lead, so that the other takes over at once",
        cpu=200,
        memory=256,
        variables=NOMAD,
        scales=False,
        health_port="CECOCHAT_CONTROL_PORT",
        more=(("CECOCHAT_NOMAD", "var.nomad"),),
    ),
)


def files() -> dict[str, str]:
    """Return the text of each job, by its path in this repository."""
    return {f"jobs/{job.name}.nomad.hcl": job.text() for job in JOBS}
