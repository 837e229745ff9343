"""Changes of messages: how they are written, and how those that count are read.

A change is in `changes_by_chat` in the order of ids, and in `changes_by_message` unless one with a
higher id is about the same.
"""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple

from cassandra.query import UNSET_VALUE, BoundStatement

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.statements import Statements, bucket_of, first_us, greatest_us
from cecochat.domain.changes.about import KINDS, About
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.ports.history import CHANGES_MAX, UNREAD_MAX, MessageRow

MESSAGES_AT_ONCE: Final = 33  # with each of three kinds: ScyllaDB accepts a hundred of both
CHANGES_AT_ONCE: Final = 1_000
CHATS_AT_ONCE: Final = 25
ID: Final = struct.Struct(">q")
"""Before an event it makes the value of the higher id the greater value for the database, which
decides if timestamps are equal.
"""


def insert(make: Statements, row: MessageRow, at_us: int = 0) -> BoundStatement:
    """Return the statement that stores a change by its id, as the first write of it."""
    id_ = row.message_id
    values = (row.chat_id, bucket_of(id_), id_, row.event, at_us or first_us(id_))
    return make.insert_change.bind(values)


def pointers(
    make: Statements, rows: Iterable[MessageRow], at_us: int = 0
) -> Iterator[BoundStatement]:
    """The statements that store which changes count, and the last one of each chat."""
    last: dict[ChatId, int] = {}
    for row in rows:
        if row.about:
            id_, (message_id, kind, key) = row.message_id, row.about
            place = (row.chat_id, bucket_of(message_id), kind, message_id, key)
            values = (ID.pack(id_) + row.event, _mentioned(row) or UNSET_VALUE)
            yield make.raise_standing.bind((*place, *values, at_us or greatest_us(id_)))
            last[row.chat_id] = max(id_, last.get(row.chat_id, 0))
    for chat_id, id_ in last.items():
        yield make.raise_changed.bind((chat_id, id_, at_us or greatest_us(id_)))


def blank_pointer(make: Statements, row: MessageRow, at_us: int) -> BoundStatement:
    """Return the statement that stores a change that says nothing in the place of itself, among
    those that count.
    """
    assert row.about is not None
    message_id, kind, key = row.about
    place = (row.chat_id, bucket_of(message_id), kind, message_id, key)
    id_ = ID.pack(row.message_id)
    return make.raise_standing.bind((*place, id_ + row.event, id_, at_us))


async def standing(
    database: Database, make: Statements, rows: Sequence[MessageRow]
) -> list[MessageRow]:
    """Return those of these changes that count."""

    async def counts(row: MessageRow) -> bool:
        assert row.about is not None
        message_id, kind, key = row.about
        place = (row.chat_id, bucket_of(message_id), kind, message_id, key)
        found = await database.run(make.standing.bind(place))
        return bool(found) and ID.unpack_from(found[0][0])[0] == row.message_id

    known = await asyncio.gather(*map(counts, rows))
    return [row for row, does_count in zip(rows, known, strict=True) if does_count]


def _mentioned(row: MessageRow) -> bytes | None:
    """Return whom an edit mentions, as it is stored even of nobody; None if it is no edit."""
    if row.about is None or row.about.kind != "edit":
        return None
    return ID.pack(row.message_id) + " ".join(row.mentioned).encode()


async def changes(
    database: Database, make: Statements, chat_id: ChatId, message_ids: Sequence[int]
) -> dict[int, list[bytes]]:
    """Like `History.changes`."""
    by_bucket: dict[int, list[int]] = defaultdict(list)
    for id_ in message_ids:
        by_bucket[bucket_of(id_)].append(id_)
    parts = [
        (bucket, ids[at : at + MESSAGES_AT_ONCE])
        for bucket, ids in by_bucket.items()
        for at in range(0, len(ids), MESSAGES_AT_ONCE)
    ]
    answers = await asyncio.gather(
        *(_some(database, make, chat_id, bucket, ids) for bucket, ids in parts)
    )
    return {id_: found for answer in answers for id_, found in answer.items()}


async def _some(
    database: Database, make: Statements, chat_id: ChatId, bucket: int, ids: Sequence[int]
) -> dict[int, list[bytes]]:
    """One request reads the changes of several messages, unless there are too many."""
    limit = CHANGES_MAX if len(ids) == 1 else CHANGES_AT_ONCE
    rows = await database.run(make.standing_of.bind((chat_id, bucket, KINDS, ids, limit)))
    found: dict[int, list[bytes]] = defaultdict(list)
    for id_, change in rows:
        found[id_].append(change[ID.size :])
    if len(ids) == 1 or len(rows) < limit:
        return {id_: changes[:CHANGES_MAX] for id_, changes in found.items()}
    answers = await asyncio.gather(*(_some(database, make, chat_id, bucket, [id_]) for id_ in ids))
    return {id_: changes for answer in answers for id_, changes in answer.items()}


async def last_ids(
    database: Database, make: Statements, chat_ids: Sequence[ChatId]
) -> dict[ChatId, int]:
    """Chat id -> the highest id of a change there. Chats without changes are left out."""
    parts = [chat_ids[at : at + CHATS_AT_ONCE] for at in range(0, len(chat_ids), CHATS_AT_ONCE)]
    answers = await asyncio.gather(*(database.run(make.changed.bind((part,))) for part in parts))
    return {chat_id: last for rows in answers for chat_id, last in rows}


class Said(NamedTuple):
    """Of a message, what it takes to count it."""

    user_id: UserId
    message_id: int
    mentioned: str | None  # the ids of users, with spaces between them

    def mentions(self, user_id: UserId) -> bool:
        """Return whether it mentions a user."""
        return self.mentioned is not None and user_id in self.mentioned.split()


async def now(
    database: Database, make: Statements, chat_id: ChatId, said: Sequence[Said], edited_up_to: int
) -> list[Said]:
    """Return what has become of these messages, without those that are deleted. Edits above
    `edited_up_to` do not count.
    """
    ids = [each.message_id for each in said]
    buckets = {bucket_of(id_) for id_ in ids}
    span = (min(ids, default=0) - 1, max(ids, default=0) + 1, 3 * UNREAD_MAX)
    answers = await asyncio.gather(
        *(database.run(make.texts_changed.bind((chat_id, bucket, *span))) for bucket in buckets)
    )
    found = {About(*about): mentioned for rows in answers for *about, mentioned in rows}
    return [
        _now(each, found, edited_up_to)
        for each in said
        if not any(About(each.message_id, "deletion", key) in found for key in ("", each.user_id))
    ]


def _now(said: Said, found: Mapping[About, bytes | None], edited_up_to: int) -> Said:
    """An edit that an earlier version has stored mentions nobody."""
    about = About(said.message_id, "edit", said.user_id)
    if about not in found:
        return said
    mentioned = found[about] or ID.pack(0)
    is_known = ID.unpack_from(mentioned)[0] <= edited_up_to
    return said._replace(mentioned=mentioned[ID.size :].decode()) if is_known else said


async def lacking(
    database: Database, make: Statements, rows: Sequence[MessageRow]
) -> tuple[list[MessageRow], list[MessageRow]]:
    """Return which of these changes are absent, also where they should count, and which are there
    with other bytes or as mentioning others.
    """
    chat_ids = list({row.chat_id for row in rows})
    differences, last = await asyncio.gather(
        asyncio.gather(*(_difference(database, make, row) for row in rows)),
        last_ids(database, make, chat_ids),
    )
    found = [
        (row, how if row.message_id <= last.get(row.chat_id, 0) else "absent")
        for row, how in zip(rows, differences, strict=True)
    ]
    absent = [row for row, how in found if how == "absent"]
    return absent, [row for row, how in found if how == "other"]


async def _difference(
    database: Database, make: Statements, row: MessageRow
) -> Literal["absent", "other", ""]:
    """Return how what is stored of a change differs. It is absent, too, if an older one counts in
    its place.
    """
    assert row.about is not None
    message_id, kind, key = row.about
    by_id = make.change.bind((row.chat_id, bucket_of(row.message_id), row.message_id))
    place = (row.chat_id, bucket_of(message_id), kind, message_id, key)
    events, standing = await asyncio.gather(
        database.run(by_id), database.run(make.standing.bind(place))
    )
    if not events or not standing or ID.unpack_from(standing[0][0])[0] < row.message_id:
        return "absent"
    change, mentioned = standing[0]
    counts = ID.unpack_from(change)[0] == row.message_id
    is_same = events[0][0] == row.event and not (counts and mentioned != _mentioned(row))
    return "" if is_same else "other"
