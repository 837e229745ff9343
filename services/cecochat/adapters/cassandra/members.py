"""The rows of changes of groups: how they are stored, and which are missing."""

# mypy: disable-error-code="import-untyped"

from __future__ import annotations

import asyncio
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from cassandra.query import BoundStatement

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.statements import LOWEST_US, Statements
from cecochat.domain.log.ids import ChatId, partition_in
from cecochat.ports.groups import standing_of
from cecochat.ports.history import MembershipRow, MessageRow, PersonRow

SHARDS: Final = 16
"""Over how many partitions of the database the residents of one partition of the log are spread."""
NAMED_AT_ONCE: Final = 50


def shard_of(chat_id: ChatId) -> int:
    """Return the shard that has a group's members in a table by their partitions of the log."""
    return zlib.crc32(chat_id.encode()) % SHARDS


def change_rows(
    make: Statements, messages: Iterable[MessageRow], at_us: int = LOWEST_US
) -> Iterator[BoundStatement]:
    """The statements that store what the changes among these messages come to."""
    for row in messages:
        if row.membership:
            yield from _change_rows(make, row.chat_id, row.message_id, row.membership, at_us)


def _change_rows(
    make: Statements, chat_id: ChatId, id_: int, membership: MembershipRow, at_us: int
) -> Iterator[BoundStatement]:
    for user_id, partition, standing in membership.people:
        values = (chat_id, user_id, *standing, at_us)
        yield make.insert_member.bind(values)
        yield make.insert_member_of_user.bind(values)
        yield make.insert_member_of_partition.bind((partition, shard_of(chat_id), *values))
    if membership.options is not None:
        yield make.insert_options.bind((chat_id, id_, membership.options, at_us))
        yield make.insert_group.bind((partition_in(id_), chat_id, at_us))


async def incomplete(
    database: Database, make: Statements, messages: Sequence[MessageRow]
) -> set[int]:
    """Return the ids of those changes of which the database lacks a part. Raises `Unavailable`."""
    changes = [row for row in messages if row.membership]
    whole = await asyncio.gather(*(_is_whole(database, make, row) for row in changes))
    return {row.message_id for row, is_whole in zip(changes, whole, strict=True) if not is_whole}


async def _is_whole(database: Database, make: Statements, row: MessageRow) -> bool:
    assert row.membership
    people, options = row.membership
    if options is not None:
        home = make.group_in.bind((partition_in(row.message_id), row.chat_id))
        of_group = make.options_of.bind((row.chat_id, row.message_id))
        found, homed = await asyncio.gather(database.run(of_group), database.run(home))
        if not homed or [each for (each,) in found] != [options]:
            return False
    parts = [people[at : at + NAMED_AT_ONCE] for at in range(0, len(people), NAMED_AT_ONCE)]
    return all([await _has_all(database, make, row, part) for part in parts])


async def _has_all(
    database: Database, make: Statements, row: MessageRow, people: Sequence[PersonRow]
) -> bool:
    """Return whether all of these people are in all three tables."""
    by_partition: dict[int, list[PersonRow]] = defaultdict(list)
    for person in people:
        by_partition[person.partition].append(person)
    users = [person.user_id for person in people]
    key = (row.chat_id, users, row.message_id)
    answers = await asyncio.gather(
        database.run(make.members_named.bind(key)),
        database.run(make.members_named_of_user.bind(key)),
        *(
            database.run(
                make.members_named_of_partition.bind(
                    (
                        *(partition, shard_of(row.chat_id), row.chat_id),
                        [person.user_id for person in some],
                        row.message_id,
                    )
                )
            )
            for partition, some in by_partition.items()
        ),
    )
    wanted = {(person.user_id, person.standing) for person in people}
    of_partitions = [each for answer in answers[2:] for each in answer]
    return all(
        {(user_id, standing_of(*standing)) for user_id, *standing in rows} == wanted
        for rows in (*answers[:2], of_partitions)
    )
