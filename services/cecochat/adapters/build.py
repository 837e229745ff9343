"""Chooses the adapters by the settings; nothing else imports them. Those of a real backend are
imported where it is used, since their client libraries take a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path
from typing import cast, get_args

from cecochat.adapters.embedded.backplane import EmbeddedBackplane
from cecochat.adapters.embedded.configuration import EmbeddedConfiguration
from cecochat.adapters.embedded.deployment import ByOthers, EmbeddedDeployment
from cecochat.adapters.embedded.discovery import EmbeddedDiscovery
from cecochat.adapters.embedded.history import EmbeddedHistory
from cecochat.adapters.embedded.restoring import Restored, restored
from cecochat.domain.errors import InvalidSettings, Unavailable
from cecochat.ports.backplane import Backplane
from cecochat.ports.configuration import Configuration
from cecochat.ports.deployment import Deployment
from cecochat.ports.discovery import Discovery
from cecochat.ports.history import History
from cecochat.runtime.operators import cluster_secret
from cecochat.runtime.settings import Settings
from cecochat.runtime.tls import secret

log = logging.getLogger(__name__)

TRIM_EVERY_S = 10.0
TRIM_KAFKA_EVERY_S = 60.0
"""Three questions a partition that has something to drop."""


@asynccontextmanager
async def backplane(settings: Settings) -> AsyncGenerator[Backplane]:
    """The log, with the tasks that it needs; a failure of these cancels the body."""
    async with AsyncExitStack() as stack:
        yield await (_kafka if settings.kafka else _embedded_log)(settings, stack)


@asynccontextmanager
async def history(settings: Settings) -> AsyncGenerator[History]:
    """The history database."""
    opened = await (
        _cassandra(settings) if settings.cassandra else EmbeddedHistory.open(settings.data_dir)
    )
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def configuration(settings: Settings) -> AsyncGenerator[Configuration]:
    """The central configuration."""
    opened = await (
        _redis(settings) if settings.redis else EmbeddedConfiguration.open(settings.data_dir)
    )
    try:
        yield opened
    finally:
        await opened.close()


@asynccontextmanager
async def discovery(settings: Settings) -> AsyncGenerator[Discovery]:
    """The registry of live servers."""
    if settings.consul:
        async with _consul(settings) as opened:
            yield opened
    else:
        registry = EmbeddedDiscovery()
        try:
            yield registry
        finally:
            await registry.close()


@asynccontextmanager
async def deployment(settings: Settings) -> AsyncGenerator[Deployment]:
    """What runs the servers."""
    if settings.nomad:
        from cecochat.adapters.nomad.deployment import NomadDeployment

        yield NomadDeployment(
            settings.nomad,
            tls=settings.backends_tls(settings.nomad_tls),
            token=secret(settings.nomad_token_file),
        )
    elif settings.stack:
        from cecochat.adapters.local.deployment import LocalDeployment

        async with aclosing(LocalDeployment(settings.stack)) as local:
            yield local
    else:
        yield ByOthers() if settings.consul else EmbeddedDeployment()


def restore(copy: Path, folder: Path) -> Restored:
    """Make a data folder of a copy of one, embedded. Raises `CecochatError`."""
    return restored(copy, folder)


async def _embedded_log(settings: Settings, stack: AsyncExitStack) -> Backplane:
    opened = await EmbeddedBackplane.open(
        settings.data_dir,
        partition_count=settings.partitions or None,
        retention_ms=settings.retention_ms,
        retention_bytes=settings.retention_bytes,
    )
    stack.push_async_callback(opened.close)
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    trimming = tasks.create_task(_trim(opened, TRIM_EVERY_S))
    stack.callback(trimming.cancel)
    return opened


async def _trim(opened: Backplane, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            await opened.trim()
        except Unavailable as error:
            log.warning("what is old and needed no more is not dropped: %s", error)


async def _kafka(settings: Settings, stack: AsyncExitStack) -> Backplane:
    from cecochat.adapters.kafka.backplane import KafkaBackplane
    from cecochat.adapters.kafka.settings import KafkaSettings, Mechanism

    if settings.kafka_sasl not in (known := get_args(Mechanism)):
        raise InvalidSettings(f"CECOCHAT_KAFKA_SASL: use {', '.join(known)}")
    opened = await KafkaBackplane.open(
        KafkaSettings(
            settings.kafka,
            namespace=settings.namespace,
            partition_count=settings.partitions or None,
            replication=settings.replication,
            accept_loss=settings.accept_loss,
            retention_ms=settings.retention_ms,
            tls=settings.backends_tls(settings.kafka_tls),
            mechanism=cast(Mechanism, settings.kafka_sasl),
            username=settings.kafka_username or None,
            password=secret(settings.kafka_password_file),
            instance=settings.kafka_instance or None,
            linger_ms=settings.kafka_linger_ms,
        )
    )
    # A defect in it ends the body: a server that can neither read nor append must not live on.
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    tasks.create_task(opened.running())
    trimming = tasks.create_task(_trim(opened, TRIM_KAFKA_EVERY_S))
    stack.push_async_callback(opened.close)
    stack.callback(trimming.cancel)
    return opened


async def _cassandra(settings: Settings) -> History:
    from cecochat.adapters.cassandra.history import CassandraHistory
    from cecochat.adapters.cassandra.settings import CassandraSettings

    return await CassandraHistory.open(
        CassandraSettings(
            tuple(address.strip() for address in settings.cassandra.split(",")),
            namespace=settings.namespace,
            datacenter=settings.cassandra_datacenter,
            replication_factor=settings.replication,
            consistency=settings.cassandra_consistency,
            accept_loss=settings.accept_loss,
            username=settings.cassandra_username,
            password=secret(settings.cassandra_password_file) or "",
            tls=settings.backends_tls(settings.cassandra_tls),
        )
    )


async def _redis(settings: Settings) -> Configuration:
    from cecochat.adapters.redis.configuration import RedisConfiguration
    from cecochat.adapters.redis.settings import RedisSettings

    return await RedisConfiguration.open(
        RedisSettings(
            settings.redis,
            namespace=settings.namespace,
            username=settings.redis_username or None,
            password=secret(settings.redis_password_file),
            tls=settings.backends_tls(settings.redis_tls),
        )
    )


def _consul(settings: Settings) -> AbstractAsyncContextManager[Discovery]:
    from cecochat.adapters.consul.discovery import ConsulDiscovery
    from cecochat.adapters.consul.settings import ConsulSettings

    return ConsulDiscovery.open(
        ConsulSettings(
            settings.consul,
            cluster_secret(settings),
            namespace=settings.namespace,
            token=secret(settings.consul_token_file),
            tls=settings.backends_tls(settings.consul_tls),
        )
    )
