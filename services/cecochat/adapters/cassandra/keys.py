"""The keys of users in a keyspace of their own, so that its backups can be kept for less long."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Collection
from typing import Final

from cassandra import ConsistencyLevel
from typing_extensions import override

from cecochat.adapters.cassandra.database import LOWEST_TOKEN, Database
from cecochat.adapters.cassandra.keyspace import Keyspace
from cecochat.adapters.cassandra.schema import Migration, Schema
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.domain.log.ids import UserId, app_of
from cecochat.ports.keys import Erased, Keys

DESTROYED: Final = b""
CHECK: Final = "check"
ASKED_MAX: Final = 100
DESTROYED_AT_ONCE: Final = 20  # each is three conditional writes
USERS_AT_ONCE: Final = 500
SHARD: Final = 0

SUFFIX: Final = "_keys"
MIGRATIONS: Final = (
    Migration(
        1,
        (
            # A destroyed key is an empty one, so no tombstone has to outlive anything. What a
            # conditional write leaves in `system.paxos` lives as long as `gc_grace_seconds`.
            """CREATE TABLE IF NOT EXISTS {keyspace}.keys_of_users (
                user_id text PRIMARY KEY, key blob)
                WITH gc_grace_seconds = 86400 AND compression = {{'enabled': false}}""",
            # It is small, so it is one partition.
            """CREATE TABLE IF NOT EXISTS {keyspace}.erased (
                shard int, user_id text, at_ms bigint, erased_by text,
                PRIMARY KEY (shard, user_id))""",
            "CREATE TABLE IF NOT EXISTS {keyspace}.facts (name text PRIMARY KEY, value text)",
        ),
    ),
)
CQL: Final = {
    "get": "SELECT user_id, key FROM {keyspace}.keys_of_users WHERE user_id IN ?",
    "users": """SELECT user_id, token(user_id) FROM {keyspace}.keys_of_users
        WHERE token(user_id) > ? LIMIT ?""",
    "create": "INSERT INTO {keyspace}.keys_of_users (user_id, key) VALUES (?, ?) IF NOT EXISTS",
    "destroy": "UPDATE {keyspace}.keys_of_users SET key = ? WHERE user_id = ? IF EXISTS",
    "note": """INSERT INTO {keyspace}.erased (shard, user_id, at_ms, erased_by) VALUES (?, ?, ?, ?)
        IF NOT EXISTS""",
    "erased": "SELECT user_id, at_ms, erased_by FROM {keyspace}.erased WHERE shard = ?",
    "fact": "SELECT value FROM {keyspace}.facts WHERE name = ?",
    "state": "INSERT INTO {keyspace}.facts (name, value) VALUES (?, ?) IF NOT EXISTS",
}


class CassandraKeys(Keys):
    """All keys in the keyspace of the history's name and `_keys`."""

    def __init__(self, keyspace: Keyspace, is_new: bool) -> None:
        """Use `open` instead."""
        self._keyspace = keyspace
        self._run = keyspace.run
        self.is_new = is_new

    @classmethod
    async def open(cls, settings: CassandraSettings) -> CassandraKeys:
        """Open the keys, or create the keyspace. `settings` are those of the history. Raises
        `InvalidSettings`, and `Unavailable` within `settings.open_timeout_s`.
        """
        keyspace = await Keyspace.open(settings, SUFFIX, MIGRATIONS, CQL)
        try:
            return cls(keyspace, await _lacks_messages(keyspace.database, settings))
        except BaseException:
            await keyspace.close()
            raise

    @override
    async def get(self, user_ids: Collection[UserId]) -> dict[UserId, bytes | None]:
        found = await self._read(user_ids)
        if missing := [each for each in user_ids if each not in found]:
            # Another data centre may have made it a moment ago.
            found |= await self._read(missing, ConsistencyLevel.SERIAL)
        return found

    async def _read(
        self, user_ids: Collection[UserId], consistency: int | None = None
    ) -> dict[UserId, bytes | None]:
        asked, rows = list(user_ids), []
        for start in range(0, len(asked), ASKED_MAX):
            rows += await self._run("get", asked[start : start + ASKED_MAX], at=consistency)
        return {UserId(user_id): key or None for user_id, key in rows}

    @override
    async def create(self, user_id: UserId, key: bytes) -> bytes | None:
        await self._run("create", user_id, key)
        return (await self._read([user_id], ConsistencyLevel.SERIAL))[user_id]

    @override
    async def destroy(self, *erased: Erased) -> None:
        for start in range(0, len(erased), DESTROYED_AT_ONCE):
            await asyncio.gather(*map(self._destroy, erased[start : start + DESTROYED_AT_ONCE]))

    async def _destroy(self, erased: Erased) -> None:
        await self._run("note", SHARD, *erased)
        await self._run("create", erased.user_id, DESTROYED)
        await self._run("destroy", DESTROYED, erased.user_id)

    @override
    async def erased(self) -> list[Erased]:
        return [Erased(*row) for row in await self._run("erased", SHARD)]

    @override
    async def users(self, app: str) -> AsyncGenerator[list[UserId]]:
        """Like the port says. It reads the ids of all users of the system, as they are in the order
        of their hashes.
        """
        token, more = LOWEST_TOKEN, True
        while more:
            rows = await self._run("users", token, USERS_AT_ONCE)
            if page := [UserId(user_id) for user_id, _ in rows if app_of(user_id) == app]:
                yield page
            more = len(rows) == USERS_AT_ONCE
            token = rows[-1][1] if rows else token

    @override
    async def seals(self) -> str:
        rows = await self._run("fact", CHECK, at=ConsistencyLevel.SERIAL)
        return str(rows[0][0]) if rows else ""

    @override
    async def start_sealing(self, check: str) -> str:
        await self._run("state", CHECK, check)
        return await self.seals()

    @override
    async def close(self) -> None:
        await self._keyspace.close()


async def _lacks_messages(database: Database, settings: CassandraSettings) -> bool:
    """Return whether the history has no message yet, or was not even made."""
    schema = Schema(database, settings)
    if await schema.missing():
        return True
    return not await schema.run("SELECT chat_id FROM {keyspace}.messages_by_chat LIMIT 1")
