"""What `KafkaBackplane.open` needs to know."""

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
    """Where the brokers are, which log on them, and how long to wait for them.

    `timeout_s` bounds a single question; `outage_s` is how long an outage may last before appends
    end their session and readers fail. `linger_ms`: requests of one kind to a broker begin at least
    that far apart, so that under load several records share one; the first after a pause does not
    wait.
    """

    brokers: str  # host:port,...: any of the cluster, it tells of the others
    namespace: str = "cecochat"
    partition_count: int | None = None  # None: as it is; 60 where the log is created
    replication: int = 0  # 0: three, or as many as there are brokers
    accept_loss: bool = False  # also with a min.insync.replicas that is too low
    retention_ms: int = 7 * DAY_MS  # of what is released; what is not stays
    tls: Tls | None = None
    mechanism: Mechanism = "SCRAM-SHA-512"  # used where there is a `username`
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    instance: str | None = None  # for static membership: the same over restarts, of no other server
    timeout_s: float = 10.0
    outage_s: float = 60.0
    linger_ms: int = 5

    def check(self) -> None:
        """Raises `InvalidSettings`."""
        count = self.partition_count
        if count is not None and not 1 <= count <= PARTITIONS_MAX:
            raise InvalidSettings(f"partition count {count}: it may be 1 to {PARTITIONS_MAX}")
        if self.username is not None and self.password is None:
            raise InvalidSettings(f"Kafka user {self.username!r} has no password: set one")

    @property
    def named(self) -> int:
        """How many brokers it names: a cluster may have more."""
        return len(set(self.brokers.split(",")))

    def connection(self) -> dict[str, Any]:
        """How to connect, as every client of aiokafka takes it. Raises `InvalidSettings`."""
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
