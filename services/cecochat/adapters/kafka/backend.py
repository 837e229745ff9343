"""Kafka, for the log."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, cast, get_args

from cecochat.domain.errors import InvalidSettings
from cecochat.ports.backplane import Backplane
from cecochat.ports.trimming import trimming
from cecochat.settings.backends import Backend, Clock
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret
from cecochat.settings.variables import setting

if TYPE_CHECKING:
    from cecochat.adapters.kafka.settings import KafkaSettings

TRIM_EVERY_S = 60.0
"""Three questions a partition that has something to drop."""


@dataclass(frozen=True, slots=True)
class KafkaVariables:
    """What the environment says of Kafka."""

    kafka: str = setting("", "brokers, host:port with commas between; empty: the embedded log")
    kafka_tls: bool = setting(False, "connect to Kafka over TLS")
    kafka_username: str = setting("", "user of SASL; empty: none")
    kafka_sasl: str = setting("SCRAM-SHA-512", "mechanism of SASL")
    kafka_password_file: Path | None = setting(  # noqa: RUF009
        None, "file with its password", needs="kafka_username"
    )
    kafka_instance: str = setting(
        "",
        "this server's name in its consumer group, the same over restarts (static membership): its "
        "partitions wait for it a moment; empty: they go to others at once",
    )
    kafka_linger_ms: int = setting(
        5,
        "how far apart requests on one connection to a broker begin, those to append and to read "
        "what is new, ms: more saves CPU and costs latency; the first after a pause does not wait",
        0,
        1_000,
    )


@asynccontextmanager
async def backplane(settings: Settings, *, clock: Clock = time.time) -> AsyncGenerator[Backplane]:
    """The log in Kafka. A server that can neither read nor append must not live on: a defect in
    what runs beside it ends the body.
    """
    from cecochat.adapters.kafka.backplane import KafkaBackplane

    opened = await KafkaBackplane.open(_settings(settings), clock=clock)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(opened.running())
        try:
            async with trimming(opened, TRIM_EVERY_S):
                yield opened
        finally:
            await opened.close()


def _settings(settings: Settings) -> KafkaSettings:
    from cecochat.adapters.kafka.settings import KafkaSettings, Mechanism

    said = settings.of(KafkaVariables)
    if said.kafka_sasl not in (known := get_args(Mechanism)):
        raise InvalidSettings(f"CECOCHAT_KAFKA_SASL: use {', '.join(known)}")
    return KafkaSettings(
        said.kafka,
        namespace=settings.namespace,
        partition_count=settings.partitions or None,
        replication=settings.replication,
        accept_loss=settings.accept_loss,
        retention_ms=settings.retention_ms,
        tls=settings.backends_tls(said.kafka_tls),
        mechanism=cast(Mechanism, said.kafka_sasl),
        username=said.kafka_username or None,
        password=secret(said.kafka_password_file),
        instance=said.kafka_instance or None,
        linger_ms=said.kafka_linger_ms,
    )


BACKEND: Final = Backend(
    name="kafka",
    ports={"backplane": backplane},
    chosen_by="kafka",
    variables=KafkaVariables,
    shared=True,
    keeps_in="Kafka",
)
