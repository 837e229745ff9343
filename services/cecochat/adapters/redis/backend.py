"""The Redis backend, which serves the configuration."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cecochat.ports.closing import closing
from cecochat.ports.configuration import Configuration
from cecochat.settings.backends import Backend
from cecochat.settings.settings import Settings
from cecochat.settings.tls import secret
from cecochat.settings.variables import setting

if TYPE_CHECKING:
    from cecochat.adapters.redis.settings import RedisSettings


@dataclass(frozen=True, slots=True)
class RedisVariables:
    """The settings for Redis in the environment."""

    redis: str = setting("", "host:port; empty: the embedded configuration")
    redis_tls: bool = setting(False, "connect to Redis over TLS")
    redis_username: str = setting("", "user; empty: the default one")
    redis_password_file: Path | None = setting(None, "file with its password")  # noqa: RUF009


@asynccontextmanager
async def configuration(settings: Settings) -> AsyncGenerator[Configuration]:
    """Open the configuration in Redis."""
    from cecochat.adapters.redis.configuration import RedisConfiguration

    async with closing(await RedisConfiguration.open(_settings(settings))) as opened:
        yield opened


def _settings(settings: Settings) -> RedisSettings:
    from cecochat.adapters.redis.settings import RedisSettings

    variables = settings.of(RedisVariables)
    return RedisSettings(
        variables.redis,
        namespace=settings.namespace,
        username=variables.redis_username or None,
        password=secret(variables.redis_password_file),
        tls=settings.backends_tls(variables.redis_tls),
    )


BACKEND: Final = Backend(
    name="redis",
    ports={"configuration": configuration},
    chosen_by="redis",
    variables=RedisVariables,
    shared=True,
    keeps_in="Redis",
)
