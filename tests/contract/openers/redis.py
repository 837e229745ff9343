"""The configuration on the shared Redis, in a namespace of the test's own."""

from __future__ import annotations

from contextlib import AsyncExitStack

from redis.asyncio import Redis

from cecochat.adapters.redis.configuration import RedisConfiguration
from cecochat.adapters.redis.settings import RedisSettings
from cecochat.ports.configuration import ASSIGNMENT, CONFIGURATION, Configuration
from tests.contract.openers import Place


async def configuration(place: Place, stack: AsyncExitStack) -> Configuration:
    settings = RedisSettings(place.backends.address("redis"), place.namespace)
    opened = await RedisConfiguration.open(settings)
    stack.push_async_callback(_forget, settings)
    stack.push_async_callback(opened.close)
    return opened


async def _forget(settings: RedisSettings) -> None:
    async with Redis.from_url(f"redis://{settings.address}") as redis:
        await redis.delete(
            *(f"{settings.namespace}:{name}" for name in (CONFIGURATION, ASSIGNMENT))
        )
