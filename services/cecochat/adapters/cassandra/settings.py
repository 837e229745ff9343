"""The settings of the history on Cassandra or ScyllaDB."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from cecochat.domain.errors import InvalidSettings
from cecochat.settings.tls import Tls

PORT: Final = 9042
CONSISTENCIES: Final = (
    "ONE", "TWO", "THREE", "QUORUM", "ALL", "LOCAL_QUORUM", "EACH_QUORUM", "LOCAL_ONE",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class CassandraSettings:
    """Where the cluster is and how it is used. Raises `InvalidSettings`."""

    addresses: tuple[str, ...]  # host:port of some nodes, from which it learns the others
    namespace: str = "cecochat"  # the keyspace
    datacenter: str = ""  # whose nodes are used; empty: that of the first node that answers
    replication_factor: int = 0  # in each data centre; 0: three, or as many as there are nodes
    consistency: str = "LOCAL_QUORUM"  # of reads and writes
    accept_loss: bool = False  # accept a consistency with which reads may miss what was written
    username: str = ""
    password: str = field(default="", repr=False)
    tls: Tls | None = None
    open_timeout_s: float = 60.0  # to connect, and to create or wait for the schema
    request_timeout_s: float = 10.0  # including all retries
    in_flight: int = 64  # how many requests at once, of up to a batch each
    batch_bytes: int = 4 << 10  # of the rows of a request; by default servers warn above 5 KiB
    batch_partitions: int = 10  # in a request; by default servers warn above 10

    def __post_init__(self) -> None:
        if not self.addresses:
            raise InvalidSettings("no address of Cassandra is set: use host:port of some nodes")
        for address in self.addresses:
            endpoint(address)
        if not re.fullmatch(r"[a-z][a-z0-9_]{0,47}", self.namespace):
            raise InvalidSettings(
                f"the namespace {self.namespace!r} cannot be the name of a keyspace: use a small "
                "letter and up to 47 small letters, digits and _"
            )
        if self.consistency not in CONSISTENCIES:
            raise InvalidSettings(
                f"the consistency is {self.consistency!r}: use one of {', '.join(CONSISTENCIES)}"
            )


def endpoint(address: str) -> tuple[str, int]:
    """Host and port of `host[:port]`. Raises `InvalidSettings`."""
    host, colon, port = address.rpartition(":")
    if not colon:
        return address, PORT
    if not host or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        raise InvalidSettings(f"the address of Cassandra is {address!r}: use host:port")
    return host.strip("[]"), int(port)
