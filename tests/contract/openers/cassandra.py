"""The history in the Cassandra that `make backends-up` has started.

All tests of a run share one keyspace, as making one takes seconds: their chats, users and logs are
their own.
"""

from __future__ import annotations

import uuid
from contextlib import AsyncExitStack
from dataclasses import replace

from cassandra.query import SimpleStatement  # type: ignore[import-untyped]

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.keys import CassandraKeys
from cecochat.adapters.cassandra.moderation import SUFFIX, CassandraModeration
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.cassandra.silences import CassandraSilences
from tests.contract.openers import Place

NAMESPACE = f"test_{uuid.uuid4().hex[:12]}"

_used: list[CassandraSettings] = []


async def history(place: Place, stack: AsyncExitStack) -> CassandraHistory:
    settings = CassandraSettings((place.backends.address("cassandra"),), namespace=NAMESPACE)
    _used[:] = [settings]
    opened = await CassandraHistory.open(settings)
    stack.push_async_callback(opened.close)
    return opened


async def keys(place: Place, stack: AsyncExitStack) -> CassandraKeys:
    """In keyspaces of the test's own."""
    settings = CassandraSettings((place.backends.address("cassandra"),), namespace=place.namespace)
    opened = await CassandraKeys.open(settings)
    stack.push_async_callback(drop_keyspace, replace(settings, namespace=f"{place.namespace}_keys"))
    stack.push_async_callback(opened.close)
    return opened


async def moderation(place: Place, stack: AsyncExitStack) -> CassandraModeration:
    """In a keyspace of the test's own."""
    settings = CassandraSettings((place.backends.address("cassandra"),), namespace=place.namespace)
    opened = await CassandraModeration.open(settings)
    namespace = f"{place.namespace}{SUFFIX}"
    stack.push_async_callback(drop_keyspace, replace(settings, namespace=namespace))
    stack.push_async_callback(opened.close)
    return opened


async def silences(place: Place, stack: AsyncExitStack) -> CassandraSilences:
    settings = CassandraSettings((place.backends.address("cassandra"),), namespace=NAMESPACE)
    _used[:] = [settings]
    opened = await CassandraSilences.open(settings)
    stack.push_async_callback(opened.close)
    return opened


async def drop() -> None:
    """Take out the run's keyspace."""
    while _used:
        await drop_keyspace(_used.pop())


async def drop_keyspace(settings: CassandraSettings) -> None:
    """With everything in it."""
    database = await Database.connect(settings)
    statement = SimpleStatement(f"DROP KEYSPACE IF EXISTS {settings.namespace}")
    await database.run(statement, timeout_s=120)
    await database.close()
