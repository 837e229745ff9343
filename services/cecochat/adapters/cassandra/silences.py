"""What was told of users who are away, in the keyspace of the history."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from cassandra.query import PreparedStatement
from typing_extensions import override

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.schema import migrate
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.ports.silences import Silences

CQL: Final = (
    "SELECT user_id, value FROM {keyspace}.silences WHERE reader = ? AND log_partition = ?",
    """INSERT INTO {keyspace}.silences (reader, log_partition, user_id, value)
        VALUES (?, ?, ?, ?)""",
)


class CassandraSilences(Silences):
    """One table. Its rows are replaced and never deleted, so reading them meets no tombstones."""

    def __init__(self, database: Database, statements: list[PreparedStatement]) -> None:
        """Use `open` instead."""
        self._database = database
        self._select, self._insert = statements

    @classmethod
    async def open(cls, settings: CassandraSettings) -> CassandraSilences:
        """Open the table, or create it. `settings` are those of the history. Raises
        `InvalidSettings`, and `Unavailable` within `settings.open_timeout_s`.
        """
        try:
            async with asyncio.timeout(settings.open_timeout_s):
                return await cls._open(settings)
        except TimeoutError:
            raise Unavailable(
                f"Cassandra at {', '.join(settings.addresses)} was not ready within"
                f" {settings.open_timeout_s:g} s"
            ) from None

    @classmethod
    async def _open(cls, settings: CassandraSettings) -> CassandraSilences:
        database = await Database.connect(settings)
        try:
            await migrate(database, settings)
            cql = (each.format(keyspace=settings.namespace) for each in CQL)
            return cls(database, await database.prepare(cql))
        except BaseException:
            await database.close()
            raise

    @override
    async def load(self, group: str, partition: int) -> dict[UserId, bytes]:
        rows = await self._database.run(self._select.bind((group, partition)))
        return {UserId(user_id): value for user_id, value in rows}

    @override
    async def store(self, group: str, partition: int, values: Mapping[UserId, bytes]) -> None:
        await self._database.run_all(
            self._insert.bind((group, partition, user_id, value))
            for user_id, value in values.items()
        )

    @override
    async def close(self) -> None:
        await self._database.close()
