"""Finds which rows the database lacks. One request looks up many rows."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from cecochat.adapters.cassandra import changes
from cecochat.adapters.cassandra.chats import mark
from cecochat.adapters.cassandra.database import Database, Rows
from cecochat.adapters.cassandra.members import incomplete
from cecochat.adapters.cassandra.statements import Statements, bucket_of
from cecochat.adapters.cassandra.writes import buckets_of
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.ports.history import Lacking, MarkRow, MessageRow
from cecochat.ports.joining import highest, last_in_chats

# A request names chats and ids separately, so the server looks for every id in every chat. ScyllaDB
# accepts up to 100 of each.
CHATS_AT_ONCE: Final = 20
IDS_AT_ONCE: Final = 100
LOOKED_FOR_AT_ONCE: Final = 400


class _Request(NamedTuple):
    """Message ids of some chats in one bucket."""

    bucket: int
    chats: list[ChatId]
    ids: list[int]


async def lacking(
    database: Database,
    make: Statements,
    rows: Sequence[MessageRow],
    marks: Sequence[MarkRow],
) -> Lacking:
    """Like `History.lacking`."""
    messages = [row for row in rows if not row.about]
    changed = [row for row in rows if row.about]
    of_changes, events, buckets, broken, last, current_marks = await asyncio.gather(
        changes.lacking(database, make, changed),
        _events(database, make, messages),
        _buckets(database, make, rows),
        incomplete(database, make, messages),
        _chats(database, make, messages),
        _marks(database, make, marks),
    )
    without_bucket = [
        row for row in changed if (row.chat_id, bucket_of(row.message_id)) not in buckets
    ]
    absent, other = list({*of_changes[0], *without_bucket}), of_changes[1]
    for row in messages:
        event, mentioned = events.get(row.message_id, (None, None))
        bucket = (row.chat_id, bucket_of(row.message_id))
        if event is None or bucket not in buckets or row.message_id in broken:
            absent.append(row)
        elif (event, mentioned or "") != (row.event, " ".join(row.mentioned)):
            other.append(row)
    behind = [
        (key[0], row)
        for key, row in last_in_chats(messages).items()
        if last.get(key, 0) < row.message_id
    ]
    low_marks = [mark for mark in highest(marks) if not _reaches(current_marks, mark)]
    return Lacking(absent, other, behind, low_marks)


def _reaches(current_marks: dict[tuple[UserId, ChatId], MarkRow], wanted: MarkRow) -> bool:
    key = (wanted.user_id, wanted.chat_id)
    current = current_marks.get(key, MarkRow(wanted.chat_id, wanted.user_id, 0, 0))
    return highest([current, wanted]) == [current]


async def _events(
    database: Database, make: Statements, messages: Sequence[MessageRow]
) -> dict[int, tuple[bytes, str | None]]:
    """Message id -> the event, and whom it mentions."""
    requests = list(_requests(messages))
    answers = await asyncio.gather(
        *(database.run(make.events_of.bind((r.chats, r.bucket, r.ids))) for r in requests)
    )
    return {id_: (event, mentioned) for rows in answers for id_, event, mentioned in rows}


def _requests(messages: Sequence[MessageRow]) -> Iterator[_Request]:
    wanted: dict[tuple[int, ChatId], list[int]] = defaultdict(list)
    for row in messages:
        wanted[bucket_of(row.message_id), row.chat_id].append(row.message_id)
    open_: _Request | None = None
    for (bucket, chat_id), all_ids in sorted(wanted.items()):
        for at in range(0, len(all_ids), IDS_AT_ONCE):
            ids = all_ids[at : at + IDS_AT_ONCE]
            if open_ and not _fits(open_, bucket, len(ids)):
                yield open_
                open_ = None
            open_ = open_ or _Request(bucket, [], [])
            open_.chats.append(chat_id)
            open_.ids.extend(ids)
    if open_:
        yield open_


def _fits(request: _Request, bucket: int, more: int) -> bool:
    chats, ids = len(request.chats) + 1, len(request.ids) + more
    return (
        request.bucket == bucket
        and chats <= CHATS_AT_ONCE
        and ids <= IDS_AT_ONCE
        and chats * ids <= LOOKED_FOR_AT_ONCE
    )


async def _buckets(
    database: Database, make: Statements, messages: Sequence[MessageRow]
) -> set[tuple[ChatId, int]]:
    """Return the (chat id, bucket) pairs that are in the index. Nobody finds the messages of
    others.
    """
    chat_ids: dict[int, list[ChatId]] = defaultdict(list)
    for chat_id, bucket in buckets_of(messages):
        chat_ids[bucket].append(chat_id)
    asked = [(bucket, part) for bucket, some in chat_ids.items() for part in _parts(some)]
    answers = await asyncio.gather(
        *(database.run(make.buckets_of.bind((part, bucket))) for bucket, part in asked)
    )
    return {
        (chat_id, bucket)
        for (bucket, _), rows in zip(asked, answers, strict=True)
        for (chat_id,) in rows
    }


async def _chats(
    database: Database, make: Statements, messages: Sequence[MessageRow]
) -> dict[tuple[UserId, ChatId], int]:
    members: dict[ChatId, set[UserId]] = defaultdict(set)
    for user_id, chat_id in last_in_chats(messages):
        members[chat_id].add(user_id)
    answers = await asyncio.gather(
        *(
            database.run(
                make.chats_of.bind((sorted(set().union(*(members[c] for c in part))), part))
            )
            for part in _parts(sorted(members))
        )
    )
    return {(user_id, chat_id): last for rows in answers for user_id, chat_id, last in rows}


async def _marks(
    database: Database, make: Statements, marks: Sequence[MarkRow]
) -> dict[tuple[UserId, ChatId], MarkRow]:
    chats = sorted({mark.chat_id for mark in marks})
    answers: list[Rows] = await asyncio.gather(
        *(database.run(make.marks.bind((part,))) for part in _parts(chats))
    )
    found = (mark(*row) for rows in answers for row in rows)
    return {(mark.user_id, mark.chat_id): mark for mark in found}


def _parts(chat_ids: Sequence[ChatId]) -> Iterator[list[ChatId]]:
    rest = iter(chat_ids)
    while part := list(islice(rest, CHATS_AT_ONCE)):
        yield part
