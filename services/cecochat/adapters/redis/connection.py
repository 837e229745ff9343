"""The client of Redis: each call has a deadline, and every failure is `Unavailable`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar

from redis.asyncio import ConnectionPool, Redis, SSLConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from cecochat.adapters.redis.settings import RedisSettings
from cecochat.domain.errors import InvalidSettings, Unavailable

TIMEOUT_S = 5.0  # of each call, connecting included

Answer = TypeVar("Answer")


class _TlsConnection(SSLConnection):
    """A connection with our own TLS context. The one that redis-py makes also trusts the system's
    authorities.
    """

    def __init__(self, *, context: ssl.SSLContext, **named: Any) -> None:
        super().__init__(**named)
        self.ssl_context.context = context


def client(settings: RedisSettings) -> Redis:
    """Make a client, which connects with its first call. Raises `InvalidSettings`."""
    host, _, port = settings.address.rpartition(":")
    if not host or not port.isdecimal():
        raise InvalidSettings(f"the address of Redis is {settings.address!r}: use host:port")
    named: dict[str, Any] = {
        "host": host.strip("[]"),
        "port": int(port),
        "username": settings.username,
        "password": settings.password,
        "socket_connect_timeout": TIMEOUT_S,
        "socket_timeout": None,  # `answer` is the deadline
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),  # never repeat a write without the caller's knowledge
        "protocol": 2,
    }
    if settings.tls:
        named |= {"connection_class": _TlsConnection, "context": settings.tls.client()}
    return Redis.from_pool(ConnectionPool(**named))


async def answer(settings: RedisSettings, call: Awaitable[Answer]) -> Answer:
    """Wait for the answer to a call. Raises `Unavailable` on failure, or after the deadline.

    A call that is cancelled, by the deadline or from outside, costs its connection. redis-py closes
    it, since its answer could still arrive and be taken for the answer to the next call.
    """
    try:
        async with asyncio.timeout(TIMEOUT_S):
            return await call
    except (RedisError, OSError, TimeoutError) as error:
        reason = str(error) or f"there was no answer within {TIMEOUT_S:g} s"
        raise Unavailable(f"Redis at {settings.address}: {reason}") from error


async def check(settings: RedisSettings, redis: Redis) -> None:
    """Check whether Redis answers. Raises `Unavailable` if it does not, or `InvalidSettings` if
    waiting does not help: Redis refuses our credentials, or we do not trust its certificate.
    """
    try:
        await answer(settings, redis.ping())
    except Unavailable as error:
        if setting := _wrong_setting(error.__cause__):
            raise InvalidSettings(f"{error}: check {setting}") from error
        raise


def _wrong_setting(error: BaseException | None) -> str | None:
    """Return the settings that a person should check; None if the error is not about settings."""
    while error is not None:
        if isinstance(error, AuthenticationError):
            return "the username and the password for Redis"
        if isinstance(error, ssl.SSLCertVerificationError):
            return "the CA file, and the names in the certificate of Redis"
        error = error.__cause__ or error.__context__
    return None
