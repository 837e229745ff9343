"""A history on Cassandra as its tests use it: rows of one chat, by days."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from cecochat.adapters.cassandra.history import CassandraHistory
from cecochat.adapters.cassandra.settings import CassandraSettings
from cecochat.adapters.cassandra.statements import BUCKET_MS
from cecochat.domain.log.ids import message_id, stamp_at
from cecochat.ports.history import MessageRow, Progress

CHAT = "d:a~b"
NEW_YEAR_MS = 1_767_225_600_000  # 2026-01-01


@asynccontextmanager
async def opened(settings: CassandraSettings) -> AsyncGenerator[CassandraHistory]:
    history = await CassandraHistory.open(settings)
    try:
        yield history
    finally:
        await history.close()


def at(days: float, number: int = 0) -> int:
    """The id of a message so many days after New Year."""
    return message_id(stamp_at(NEW_YEAR_MS + int(days * BUCKET_MS / 10)) + number, 7)


def message(id_: int, sender: str = "a", chat: str = CHAT) -> MessageRow:
    recipients = tuple(user for user in chat[2:].split("~") if user != sender)
    return MessageRow(id_, chat, sender, recipients, b"event %d" % id_)


async def write(history: CassandraHistory, *rows: MessageRow) -> None:
    await history.write(rows, [], Progress("log", 0, 0))
