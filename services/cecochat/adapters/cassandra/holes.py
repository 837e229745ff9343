"""The table of holes, and how to find the rows that the database refuses for good."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cassandra import InvalidRequest
from cassandra.query import UNSET_VALUE, BoundStatement

from cecochat.adapters.cassandra.changes import insert
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.members import change_rows
from cecochat.adapters.cassandra.statements import Statements, bucket_of, first_us
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import UserId
from cecochat.ports.history import ANY_CHAT, Hole, MarkRow, MessageRow, Row

SHARD: Final = 0  # a small table is a single partition of the database, which is read whole
KEY_BYTES_MAX: Final = 65_535
"""The most bytes that Cassandra allows for a part of a primary key, none of which may be empty."""
HOLE_CHAT_BYTES_MAX: Final = 1_024
"""The most bytes of a chat id in the key of a hole. No chat of anybody has a longer id."""


def put_holes(make: Statements, holes: Iterable[Hole]) -> Iterator[BoundStatement]:
    """The statements that store holes. Those that are there already stay acknowledged."""
    for hole in holes:
        fits = len(hole.chat_id.encode()) <= HOLE_CHAT_BYTES_MAX
        stored = hole if fits else hole._replace(chat_id=ANY_CHAT)
        yield make.put_hole.bind((SHARD, *stored[:10], *stored[12:]))


async def read_holes(database: Database, make: Statements) -> list[Hole]:
    """Return all holes, sorted by partition and offset. Raises `Unavailable`."""
    rows = await database.run(make.holes.bind((SHARD,)))
    return [
        Hole._make((*row[:10], row[10] or 0, row[11] or "", *row[12:]))
        for row in rows
        if row[9] is not None  # else it was acknowledged while it was being closed
    ]


def acknowledging(make: Statements, hole: Hole, by: str, at_ms: int) -> BoundStatement:
    """Return the statement that notes that an operator knows of a hole."""
    return make.acknowledge_hole.bind((at_ms, by, *_key(hole)))


def closing(make: Statements, hole: Hole) -> BoundStatement:
    """Return the statement that removes a hole."""
    return make.delete_hole.bind(_key(hole))


def _key(hole: Hole) -> tuple[str | int, ...]:
    return (SHARD, *hole[:5], hole.chat_id, hole.reason)


def message_row(
    make: Statements, row: MessageRow, at_us: int, *, overrules: bool = False
) -> BoundStatement:
    """Return the statement that stores a message or a change, with this timestamp. If it overrules
    what is there, it also says if nobody is mentioned.
    """
    if row.about:
        return insert(make, row, at_us)
    id_ = row.message_id
    values = (row.chat_id, bucket_of(id_), id_, row.unread_from, row.event)
    mentioned = " ".join(row.mentioned) or (None if overrules else UNSET_VALUE)
    return make.insert_message.bind((*values, mentioned, at_us))


def blank_row(make: Statements, row: MessageRow, at_us: int) -> BoundStatement:
    """Return the statement that stores a message or a change that says nothing over what is there:
    it is by nobody, as far as it is counted.
    """
    if row.about:
        return insert(make, row, at_us)
    id_ = row.message_id
    return make.insert_message.bind((row.chat_id, bucket_of(id_), id_, "", row.event, None, at_us))


async def refused(
    database: Database, make: Statements, messages: Sequence[MessageRow], marks: Sequence[MarkRow]
) -> list[tuple[Row, str]]:
    """Return which of these rows the database will never take, with the reasons. It is given one
    message at a time, and has all others after this. Raises `Unavailable`.
    """
    rows: list[Row] = [*messages, *marks]
    reasons = await asyncio.gather(*(_reason(database, make, row) for row in rows))
    return [(row, reason) for row, reason in zip(rows, reasons, strict=True) if reason]


async def _reason(database: Database, make: Statements, row: Row) -> str:
    """Return why a row is refused, or an empty string if it is not."""
    if reason := _why_unfit(row):
        return reason
    if isinstance(row, MarkRow):
        return ""
    try:
        await database.run(message_row(make, row, first_us(row.message_id)))
        await database.run_all(change_rows(make, [row]))
    except InvalidRequest as error:
        await _touch(database, make, row, error)
        return f"Cassandra: {error}"
    return ""


def _why_unfit(row: Row) -> str:
    others: list[UserId] = []
    if isinstance(row, MessageRow):
        others += row.recipient_ids
        others += (each.user_id for each in (row.membership.people if row.membership else ()))
    for key in (row.chat_id, row.user_id, *others):
        if not 0 < len(key.encode()) <= KEY_BYTES_MAX:
            return (
                f"Cassandra: a part of its key has {len(key.encode())} bytes, and 1 to "
                f"{KEY_BYTES_MAX:,} are allowed"
            )
    return ""


async def _touch(
    database: Database, make: Statements, row: MessageRow, error: InvalidRequest
) -> None:
    """Check that a small write of the same row is taken. If it is not, the row is not the reason,
    but for example a table that is missing or a full disk. Raises `Unavailable`.
    """
    touch = make.touch_message.bind((row.chat_id, bucket_of(row.message_id), row.message_id))
    try:
        await database.run(touch)
    except InvalidRequest:
        raise Unavailable(f"Cassandra refuses all writes: {error}") from error
