"""The Kafka backend, which serves the log and the signals."""

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
from cecochat.ports.signals import Signals
from cecochat.ports.trimming import trimming
from cecochat.settings.backends import Backend, Clock
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret
from cecochat.settings.variables import setting

if TYPE_CHECKING:
    from cecochat.adapters.kafka.settings import KafkaSettings

TRIM_EVERY_S = 60.0
"""How often to trim. Each partition that has something to drop costs three requests."""


@dataclass(frozen=True, slots=True)
class KafkaVariables:
    """The settings for Kafka in the environment."""

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
    """Open the log in Kafka. If one of its background tasks fails by a defect, the body is
    cancelled: a server that can neither read nor append must not live on.
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


@asynccontextmanager
async def signals(settings: Settings) -> AsyncGenerator[Signals]:
    """Open the topic of signals in Kafka, over connections of its own."""
    from cecochat.adapters.kafka.signals import KafkaSignals

    opened = await KafkaSignals.open(_settings(settings))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(opened.run())
        try:
            yield opened
        finally:
            running.cancel()
            await opened.close()


def _settings(settings: Settings) -> KafkaSettings:
    from cecochat.adapters.kafka.settings import KafkaSettings, Mechanism

    variables = settings.of(KafkaVariables)
    if variables.kafka_sasl not in (mechanisms := get_args(Mechanism)):
        raise InvalidSettings(
            f"CECOCHAT_KAFKA_SASL is {variables.kafka_sasl!r}: use one of {', '.join(mechanisms)}"
        )
    return KafkaSettings(
        variables.kafka,
        namespace=settings.namespace,
        partition_count=settings.partitions or None,
        replication=settings.replication,
        accept_loss=settings.accept_loss,
        retention_ms=settings.retention_ms,
        tls=settings.backends_tls(variables.kafka_tls),
        mechanism=cast(Mechanism, variables.kafka_sasl),
        username=variables.kafka_username or None,
        password=secret(variables.kafka_password_file),
        instance=variables.kafka_instance or None,
        linger_ms=variables.kafka_linger_ms,
    )


BACKEND: Final = Backend(
    name="kafka",
    ports={"backplane": backplane, "signals": signals},
    chosen_by="kafka",
    variables=KafkaVariables,
    shared=True,
    keeps_in="Kafka",
)
