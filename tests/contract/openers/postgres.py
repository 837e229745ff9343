"""The index of words in the shared PostgreSQL, in a schema of the test's own."""

from __future__ import annotations

from contextlib import AsyncExitStack

from cecochat.adapters.postgres import connection
from cecochat.adapters.postgres.search import PostgresSearch
from cecochat.adapters.postgres.settings import PostgresSettings
from tests.contract.openers import Place


async def search(place: Place, stack: AsyncExitStack) -> PostgresSearch:
    settings = PostgresSettings((place.backends.address("postgres"),), place.namespace)
    opened = await PostgresSearch.open(settings)
    stack.push_async_callback(drop, settings)
    stack.push_async_callback(opened.close)
    return opened


async def drop(settings: PostgresSettings) -> None:
    """Take out the schema with everything in it."""
    opened = await connection.single(settings)
    await opened.execute(f'DROP SCHEMA IF EXISTS "{settings.namespace}" CASCADE')
    await opened.close()
