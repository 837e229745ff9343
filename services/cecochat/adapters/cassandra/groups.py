"""The members of groups on Cassandra or ScyllaDB."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

from typing_extensions import override

from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.members import SHARDS
from cecochat.adapters.cassandra.reached import ID_MAX, Wholeness
from cecochat.adapters.cassandra.statements import Statements
from cecochat.domain.groups.changes import Seen, Standing, as_group, seen, stays
from cecochat.domain.groups.group import Group
from cecochat.domain.log.ids import ChatId, UserId, partition_in
from cecochat.ports.groups import Groups, Resident, StandingRow, residents, standing_of
from cecochat.v1.events_pb2 import GroupOptions

GROUPS_AT_ONCE: Final = 16
ROWS_AT_ONCE: Final = 1_000


class CassandraGroups(Groups):
    """The tables of members in one keyspace."""

    def __init__(self, database: Database, statements: Statements, wholeness: Wholeness) -> None:
        self._database = database
        self._statements = statements
        self._wholeness = wholeness

    @override
    async def seen(self, user_id: UserId, chat_id: ChatId) -> Seen | None:
        shown = await self._wholeness.shows()
        rows = await self._database.run(self._statements.standings.bind((chat_id, user_id)))
        found = [each for each in (standing_of(*row) for row in rows) if each.event_id in shown]
        spans = stays(found)
        if not spans:
            return None
        options = await asyncio.gather(*(self.options(chat_id, each.first_id) for each in spans))
        shows_past = [not GroupOptions.FromString(each).hides_past for each in options]
        return seen(found[-1], spans, shows_past, shown.up_to(partition_in(found[-1].event_id)))

    @override
    async def of_user(self, user_id: UserId) -> list[ChatId]:
        rows = await self._database.run(self._statements.groups_of_user.bind((user_id,)))
        return sorted({row[0] for row in rows})

    @override
    async def options(self, chat_id: ChatId, at: int) -> bytes:
        rows = await self._database.run(self._statements.options_at.bind((chat_id, at)))
        return rows[0][0] if rows else b""

    @override
    async def count_read(self, chat_id: ChatId, message_id: int) -> int:
        rows = await self._database.run(self._statements.count_read.bind((chat_id, message_id)))
        return int(rows[0][0])

    @override
    async def people(
        self, chat_id: ChatId, *, at: int, after: str, limit: int
    ) -> tuple[list[tuple[UserId, Standing]], bool]:
        found: list[tuple[UserId, Standing]] = []
        async with aclosing(self._people(chat_id, at, after, 2 * limit)) as people:
            async for user_id, standing in people:
                if standing.role or standing.is_invited:
                    found.append((user_id, standing))
                if len(found) > limit:
                    break
        return found[:limit], len(found) > limit

    @override
    async def homed_in(self, partition: int, up_to: int) -> AsyncGenerator[Group]:
        after, more = "", True
        while more:
            select = self._statements.groups_in.bind((partition, after, GROUPS_AT_ONCE))
            chat_ids = [chat_id for (chat_id,) in await self._database.run(select)]
            for group in await asyncio.gather(*(self._group(each, up_to) for each in chat_ids)):
                if group.exists:
                    yield group
            more = len(chat_ids) == GROUPS_AT_ONCE
            after = chat_ids[-1] if chat_ids else after

    @override
    async def living_in(self, partition: int, up_to: Mapping[int, int]) -> AsyncGenerator[Resident]:
        async for resident in residents(self._living_in(partition), up_to):
            yield resident

    async def _living_in(self, partition: int) -> AsyncGenerator[list[StandingRow]]:
        for shard in range(SHARDS):
            after, more = ("", "", 0), True
            while more:
                key = (partition, shard, *after, ROWS_AT_ONCE)
                select = self._statements.members_in_partition.bind(key)
                rows = await self._database.run(select)
                yield [(*row[:2], standing_of(*row[2:])) for row in rows]
                more = len(rows) == ROWS_AT_ONCE
                after = rows[-1][:3] if rows else after

    async def _group(self, chat_id: ChatId, up_to: int) -> Group:
        options = GroupOptions.FromString(await self.options(chat_id, up_to))
        async with aclosing(self._standings(chat_id, "", ROWS_AT_ONCE)) as rows:
            people = [row async for row in rows if row[1].event_id <= up_to]
        return as_group(chat_id, people, options)

    async def _people(
        self, chat_id: ChatId, at: int, after: str, at_once: int
    ) -> AsyncGenerator[tuple[UserId, Standing]]:
        """Yield everybody whom a change up to the id `at` names, above `after`, as they stand
        then.
        """
        last: tuple[UserId, Standing] | None = None
        async with aclosing(self._standings(chat_id, after, at_once)) as rows:
            async for row in rows:
                if last and last[0] != row[0]:
                    yield last
                    last = None
                if row[1].event_id <= at:
                    last = row
        if last:
            yield last

    async def _standings(
        self, chat_id: ChatId, after: str, at_once: int
    ) -> AsyncGenerator[tuple[UserId, Standing]]:
        """Yield all standings of everybody above `after`, oldest first, until the caller has
        enough.
        """
        bound, more = (after, ID_MAX), True
        while more:
            select = self._statements.members.bind((chat_id, *bound, at_once))
            rows = await self._database.run(select)
            for user_id, *standing in rows:
                yield user_id, standing_of(*standing)
            more = len(rows) == at_once
            bound = rows[-1][:2] if rows else bound
            at_once = min(2 * at_once, ROWS_AT_ONCE)  # many may have left
