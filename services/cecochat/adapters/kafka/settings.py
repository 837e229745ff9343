"""The settings of the log in Kafka."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from cecochat.domain.errors import InvalidSettings
from cecochat.settings.tls import Tls

DAY_MS: Final = 24 * 3_600_000
PARTITIONS_DEFAULT: Final = 60
PARTITIONS_MAX: Final = 4_096

Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


@dataclass(frozen=True, slots=True)
class KafkaSettings:
    """Where the brokers are, which log to use there, and how long to wait.

    `timeout_s` is for a single request. `outage_s` is how long an outage may last before appends
    end their session and readers fail. `linger_ms` is the least time between the beginnings of two
    requests of one kind to a broker, so that under load several records share a request; the first
    after a pause does not wait.
    """

    brokers: str  # host:port,...: some of the cluster, from which it learns the others
    namespace: str = "cecochat"
    partition_count: int | None = None  # None: whatever the log has, or 60 if it is created
    replication: int = 0  # 0: three, or as many as there are brokers
    accept_loss: bool = False  # accept a min.insync.replicas that is too low
    retention_ms: int = 7 * DAY_MS  # for what is released; the rest stays
    tls: Tls | None = None
    mechanism: Mechanism = "SCRAM-SHA-512"  # used if there is a `username`
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    instance: str | None = None  # for static membership: stays over restarts, unique to a server
    timeout_s: float = 10.0
    outage_s: float = 60.0
    linger_ms: int = 5

    def check(self) -> None:
        """Check the values. Raises `InvalidSettings`."""
        count = self.partition_count
        if count is not None and not 1 <= count <= PARTITIONS_MAX:
            raise InvalidSettings(
                f"a log cannot have {count} partitions: use 1 to {PARTITIONS_MAX}"
            )
        if self.username is not None and self.password is None:
            raise InvalidSettings(f"the Kafka user {self.username!r} has no password: set one")

    @property
    def named(self) -> int:
        """How many brokers are named here. The cluster may have more."""
        return len(set(self.brokers.split(",")))

    def connection(self) -> dict[str, Any]:
        """Return the arguments to connect a client of aiokafka. Raises `InvalidSettings`."""
        encrypted = "SSL" if self.tls else "PLAINTEXT"
        return {
            "bootstrap_servers": self.brokers.split(","),
            "client_id": self.namespace if self.instance is None else self.instance,
            "request_timeout_ms": int(self.timeout_s * 1_000),
            "security_protocol": f"SASL_{encrypted}" if self.username else encrypted,
            "ssl_context": self.tls.client() if self.tls else None,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }
