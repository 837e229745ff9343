"""Harm done to a history database behind the system's back: rows deleted, bytes changed, marks
lowered, as somebody with a shell of that database can.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, Protocol

from cassandra.query import SimpleStatement  # type: ignore[import-untyped]

from cecochat.adapters.cassandra.changes import ID
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.cassandra.statements import bucket_of
from cecochat.adapters.embedded.history import FILE
from cecochat.ports.history import MarkRow, MessageRow

SPOILED = b"what nobody has said"
SQLITE_TABLES = (
    *("messages", "chats_by_user", "marks", "changes", "standing_changes"),
    *("members", "options", "mentions"),
)
TABLES = (
    *("messages_by_chat", "buckets_by_chat", "chats_by_user", "marks_by_chat"),
    *("changes_by_chat", "changes_by_message", "changed_chats"),
    *("members_by_group", "members_by_user", "members_by_partition"),
    *("options_by_group", "groups_by_home"),
)
"""Of Cassandra, but for those that say how far the history is."""


class Damage(Protocol):
    """What can be done to one history."""

    async def delete_message(self, chat: str, id_: int) -> None: ...

    async def spoil_message(self, chat: str, id_: int) -> None:
        """Other bytes."""

    async def delete_chat(self, user: str, chat: str) -> None:
        """From the user's list."""

    async def lower_mark(self, mark: MarkRow) -> None:
        """To what is given."""

    async def forget_changes(self, chat: str) -> None:
        """All changes of messages in a chat, and that it has any."""

    async def mention(self, row: MessageRow, names: str) -> None:
        """Have a message or an edit mention others; nobody: an empty string."""

    async def delete_member(self, chat: str, user: str, id_: int) -> None:
        """What a change of a group says of somebody."""

    async def delete_options(self, chat: str, id_: int) -> None:
        """That a change of a group has set."""

    async def empty(self) -> None:
        """All but how far the history is."""


class SqliteDamage:
    """To `history.db` of a data folder, by a connection of its own."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE

    async def delete_message(self, chat: str, id_: int) -> None:
        self._run("DELETE FROM messages WHERE chat_id = ? AND message_id = ?", chat, id_)

    async def spoil_message(self, chat: str, id_: int) -> None:
        sql = "UPDATE messages SET event = ? WHERE chat_id = ? AND message_id = ?"
        self._run(sql, SPOILED, chat, id_)

    async def delete_chat(self, user: str, chat: str) -> None:
        self._run("DELETE FROM chats_by_user WHERE user_id = ? AND chat_id = ?", user, chat)

    async def lower_mark(self, mark: MarkRow) -> None:
        sql = """UPDATE marks SET delivered_up_to = ?, read_up_to = ?
            WHERE chat_id = ? AND user_id = ?"""
        self._run(sql, mark.delivered_up_to, mark.read_up_to, mark.chat_id, mark.user_id)

    async def forget_changes(self, chat: str) -> None:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            for table in ("changes", "standing_changes"):
                connection.execute(f"DELETE FROM {table} WHERE chat_id = ?", (chat,))

    async def mention(self, row: MessageRow, names: str) -> None:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            place = (row.chat_id, row.message_id)
            sql = "DELETE FROM mentions WHERE chat_id = ? AND event_id = ?"
            connection.execute(sql, place)
            if names:
                connection.execute("INSERT INTO mentions VALUES (?, ?, ?)", (*place, names))

    async def delete_member(self, chat: str, user: str, id_: int) -> None:
        sql = "DELETE FROM members WHERE chat_id = ? AND user_id = ? AND event_id = ?"
        self._run(sql, chat, user, id_)

    async def delete_options(self, chat: str, id_: int) -> None:
        self._run("DELETE FROM options WHERE chat_id = ? AND event_id = ?", chat, id_)

    async def empty(self) -> None:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            for table in SQLITE_TABLES:
                connection.execute(f"DELETE FROM {table}")

    def _run(self, sql: str, *bound: Any) -> None:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            done = connection.execute(sql, bound)
            assert done.rowcount == 1, f"{sql}: there was nothing to harm"


class CassandraDamage:
    """To a keyspace, by statements as `cqlsh` sends them: with the time of now."""

    def __init__(self, database: Database, keyspace: str) -> None:
        self._database = database
        self._keyspace = keyspace

    async def delete_message(self, chat: str, id_: int) -> None:
        key = (chat, bucket_of(id_), id_)
        where = "WHERE chat_id = %s AND bucket = %s AND message_id = %s"
        await self._run(f"DELETE FROM {{}}.messages_by_chat {where}", *key)

    async def spoil_message(self, chat: str, id_: int) -> None:
        key = (chat, bucket_of(id_), id_)
        where = "WHERE chat_id = %s AND bucket = %s AND message_id = %s"
        await self._run(f"UPDATE {{}}.messages_by_chat SET event = %s {where}", SPOILED, *key)

    async def delete_chat(self, user: str, chat: str) -> None:
        cql = "DELETE FROM {}.chats_by_user WHERE user_id = %s AND chat_id = %s"
        await self._run(cql, user, chat)

    async def lower_mark(self, mark: MarkRow) -> None:
        cql = """UPDATE {}.marks_by_chat SET delivered_up_to = %s, read_up_to = %s
            WHERE chat_id = %s AND user_id = %s"""
        await self._run(cql, mark.delivered_up_to, mark.read_up_to, mark.chat_id, mark.user_id)

    async def forget_changes(self, chat: str) -> None:
        await self._run("DELETE FROM {}.changed_chats WHERE chat_id = %s", chat)
        for table in ("changes_by_chat", "changes_by_message"):
            for bucket in await self._buckets(chat):
                cql = f"DELETE FROM {{}}.{table} WHERE chat_id = %s AND bucket = %s"
                await self._run(cql, chat, bucket)

    async def _buckets(self, chat: str) -> list[int]:
        cql = f"SELECT bucket FROM {self._keyspace}.buckets_by_chat WHERE chat_id = %s"
        return [bucket for (bucket,) in await self._database.run(SimpleStatement(cql), (chat,))]

    async def mention(self, row: MessageRow, names: str) -> None:
        if row.about:
            message_id, kind, key = row.about
            where = "chat_id = %s AND bucket = %s AND kind = %s AND message_id = %s AND key = %s"
            place = (row.chat_id, bucket_of(message_id), kind, message_id, key)
            value = ID.pack(row.message_id) + names.encode() if names else None
            cql = f"UPDATE {{}}.changes_by_message SET mentioned = %s WHERE {where}"
            await self._run(cql, value, *place)
            return
        id_, where = row.message_id, "chat_id = %s AND bucket = %s AND message_id = %s"
        cql = f"UPDATE {{}}.messages_by_chat SET mentioned = %s WHERE {where}"
        await self._run(cql, names or None, row.chat_id, bucket_of(id_), id_)

    async def delete_member(self, chat: str, user: str, id_: int) -> None:
        where = "WHERE chat_id = %s AND user_id = %s AND event_id = %s"
        await self._run(f"DELETE FROM {{}}.members_by_user {where}", chat, user, id_)

    async def delete_options(self, chat: str, id_: int) -> None:
        cql = "DELETE FROM {}.options_by_group WHERE chat_id = %s AND event_id = %s"
        await self._run(cql, chat, id_)

    async def empty(self) -> None:
        for table in TABLES:
            cql = SimpleStatement(f"TRUNCATE {self._keyspace}.{table}")
            await self._database.run(cql, timeout_s=60)

    async def hide_bucket(self, chat: str, id_: int) -> None:
        """Of the index: nobody finds what is in it."""
        cql = "DELETE FROM {}.buckets_by_chat WHERE chat_id = %s AND bucket = %s"
        await self._run(cql, chat, bucket_of(id_))

    async def _run(self, cql: str, *bound: Any) -> None:
        await self._database.run(SimpleStatement(cql.format(self._keyspace)), bound)


@asynccontextmanager
async def to_cassandra(address: str, namespace: str) -> AsyncGenerator[CassandraDamage]:
    """Over a connection of its own."""
    database = await Database.connect(CassandraSettings((address,), namespace=namespace))
    try:
        yield CassandraDamage(database, namespace)
    finally:
        await database.close()
