"""The table of holes, and how the rows are found that the database refuses for what they are."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cassandra import InvalidRequest
from cassandra.query import BoundStatement

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.statements import Statements, bucket_of, first_us
from cecochat.domain.errors import Unavailable
from cecochat.ports.history import Hole, MarkRow, MessageRow, Row

SHARD: Final = 0  # a small table is one partition of the database, and is read whole
KEY_BYTES_MAX: Final = 65_535
"""Of a part of a primary key, in Cassandra; and none may be empty."""
HOLE_CHAT_BYTES_MAX: Final = 1_024
"""It is part of a hole's key; what is longer is no chat of anybody."""


def put_holes(make: Statements, holes: Iterable[Hole]) -> Iterator[BoundStatement]:
    """The statements that store them; those that are there stay acknowledged."""
    for hole in holes:
        named = len(hole.chat_id.encode()) <= HOLE_CHAT_BYTES_MAX
        fit = hole if named else hole._replace(chat_id="")
        yield make.put_hole.bind((SHARD, *fit[:10], *fit[12:]))


async def read_holes(database: Database, make: Statements) -> list[Hole]:
    """All of them, by partition and offset. Raises `Unavailable`."""
    rows = await database.run(make.holes.bind((SHARD,)))
    return [
        Hole._make((*row[:10], row[10] or 0, row[11] or "", *row[12:]))
        for row in rows
        if row[9] is not None  # or it was acknowledged while it was closed
    ]


def acknowledging(make: Statements, hole: Hole, by: str, at_ms: int) -> BoundStatement:
    """The statement that notes that an operator knows of it."""
    return make.acknowledge_hole.bind((at_ms, by, *_key(hole)))


def closing(make: Statements, hole: Hole) -> BoundStatement:
    """The statement that takes it out."""
    return make.delete_hole.bind(_key(hole))


def _key(hole: Hole) -> tuple[str | int, ...]:
    return (SHARD, *hole[:5], hole.chat_id, hole.reason)


def message_row(make: Statements, row: MessageRow) -> BoundStatement:
    """The statement that stores it."""
    id_, chat = row.message_id, row.chat_id
    return make.insert_message.bind(
        (chat, bucket_of(id_), id_, row.user_id, row.event, first_us(id_))
    )


async def refused(
    database: Database, make: Statements, messages: Sequence[MessageRow], marks: Sequence[MarkRow]
) -> list[tuple[Row, str]]:
    """Which of these rows the database will never take, with the reasons; it is asked for one
    message at a time, and has the others then. Raises `Unavailable`.
    """
    rows: list[Row] = [*messages, *marks]
    reasons = await asyncio.gather(*(_reason(database, make, row) for row in rows))
    return [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason]


async def _reason(database: Database, make: Statements, row: Row) -> str:
    """Why it is refused; empty: it is not."""
    if unfit := _unfit(row):
        return unfit
    if isinstance(row, MarkRow):
        return ""
    try:
        await database.run(message_row(make, row))
    except InvalidRequest as error:
        await _touch(database, make, row, error)
        return f"Cassandra: {error}"
    return ""


def _unfit(row: Row) -> str:
    recipients = row.recipient_ids if isinstance(row, MessageRow) else ()
    for key in (row.chat_id, row.user_id, *recipients):
        if not 0 < len(key.encode()) <= KEY_BYTES_MAX:
            return f"Cassandra: a key of {len(key.encode())} bytes: 1 to {KEY_BYTES_MAX:,}"
    return ""


async def _touch(
    database: Database, make: Statements, row: MessageRow, error: InvalidRequest
) -> None:
    """A small write of the same row has to go through; or it is not for this row that the database
    refuses it, as where a table is missing or a disk is full. Raises `Unavailable`.
    """
    touch = make.touch_message.bind((row.chat_id, bucket_of(row.message_id), row.message_id))
    try:
        await database.run(touch)
    except InvalidRequest:
        raise Unavailable(f"Cassandra refuses whatever is written: {error}") from error
