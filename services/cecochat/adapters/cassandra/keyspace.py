"""A keyspace beside that of the history, with statements that are prepared once."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from cassandra.query import BatchStatement, BatchType, BoundStatement, PreparedStatement

from cecochat.adapters.cassandra.database import Database, Rows
from cecochat.adapters.cassandra.schema import Migration, migrate
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.errors import Unavailable


class Keyspace:
    """A keyspace that is open."""

    def __init__(self, database: Database, statements: dict[str, PreparedStatement]) -> None:
        """Use `open` instead."""
        self.database = database
        self._statements = statements

    @classmethod
    async def open(
        cls,
        settings: CassandraSettings,
        suffix: str,
        migrations: Sequence[Migration],
        cql: Mapping[str, str],
    ) -> Keyspace:
        """Open the keyspace with the history's name and a suffix, or create it. `settings` are
        those of the history, `cql` the statements by name. Raises `InvalidSettings`, and
        `Unavailable` within `settings.open_timeout_s`.
        """
        try:
            async with asyncio.timeout(settings.open_timeout_s):
                own = replace(settings, namespace=settings.namespace + suffix)
                return await cls._open(own, migrations, cql)
        except TimeoutError:
            raise Unavailable(
                f"Cassandra at {', '.join(settings.addresses)} was not ready within"
                f" {settings.open_timeout_s:g} s"
            ) from None

    @classmethod
    async def _open(
        cls, own: CassandraSettings, migrations: Sequence[Migration], cql: Mapping[str, str]
    ) -> Keyspace:
        database = await Database.connect(own)
        try:
            await migrate(database, own, migrations)
            made = await database.prepare(
                each.format(keyspace=own.namespace) for each in cql.values()
            )
            return cls(database, dict(zip(cql, made, strict=True)))
        except BaseException:
            await database.close()
            raise

    async def run(self, name: str, *values: Any, at: int | None = None) -> Rows:
        """Run a statement, at another consistency than usual if `at` is given. Raises
        `Unavailable`.
        """
        bound = self._bound(name, values)
        if at is not None:
            bound.consistency_level = at
        return await self.database.run(bound)

    async def run_together(self, statements: Iterable[tuple[str, Sequence[Any]]]) -> None:
        """Run statements in a logged batch: if any of them takes effect, all do within seconds,
        whatever dies. Raises `Unavailable`.
        """
        batch = BatchStatement(BatchType.LOGGED)
        batch.is_idempotent = True
        for name, values in statements:
            batch.add(self._bound(name, values))
        await self.database.run(batch)

    def _bound(self, name: str, values: Sequence[Any]) -> BoundStatement:
        return self._statements[name].bind(values)

    async def close(self) -> None:
        """Disconnect. It may be called again."""
        await self.database.close()
