"""The Kafka adapter, on the shared broker, in a namespace of the test's own."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient  # type: ignore[import-untyped]

from cecochat.adapters.kafka.backplane import KafkaBackplane
from cecochat.adapters.kafka.settings import KafkaSettings
from cecochat.adapters.kafka.signals import KafkaSignals
from cecochat.adapters.kafka.topics import names_of
from cecochat.adapters.kafka.trimming import Clock
from cecochat.ports.backplane import Backplane
from cecochat.runtime.lifetime import running
from tests.contract.openers import PARTITIONS, Place
from tests.support.eventually import eventually


def settings(place: Place) -> KafkaSettings:
    return KafkaSettings(
        place.backends.address("kafka"), namespace=place.namespace, partition_count=PARTITIONS
    )


async def backplane(
    place: Place, stack: AsyncExitStack, *, clock: Clock = time.time, **changes: Any
) -> Backplane:
    log = await KafkaBackplane.open(replace(settings(place), **changes), clock=clock)
    stack.push_async_callback(remove, settings(place))
    stack.push_async_callback(log.close)
    return log


async def signals(place: Place, stack: AsyncExitStack) -> KafkaSignals:
    await backplane(place, stack)  # it makes the topic
    opened = await KafkaSignals.open(settings(place))
    await stack.enter_async_context(running(opened.run()))
    stack.push_async_callback(opened.close)
    return opened


@asynccontextmanager
async def admin(settings: KafkaSettings) -> AsyncGenerator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(**settings.connection())
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def remove(settings: KafkaSettings) -> None:
    """The topics of a test. Brokers go on naming them for a moment."""
    names = names_of(settings)
    async with admin(settings) as client:
        await client.delete_topics(names)

        async def gone() -> bool:
            return not set(names) & set(await client.list_topics())

        await eventually(gone, within_s=30, every_s=0.05)
