"""The lists of chats: dialogs as they stand there, and groups by who belongs to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, Final

from cecochat.adapters.cassandra import changes
from cecochat.adapters.cassandra.changes import Said
from cecochat.adapters.cassandra.database import Database
from cecochat.adapters.cassandra.pages import Pages
from cecochat.adapters.cassandra.reached import Shown
from cecochat.adapters.cassandra.statements import Statements, bucket_of
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.log.spans import STILL, Span
from cecochat.ports.groups import Groups, Line, memberships, standing_of
from cecochat.ports.history import MARKS_MAX, UNREAD_MAX, ChatRow, GroupLine, MarkRow

CHATS_AT_ONCE: Final = 25
GROUPS_AT_ONCE: Final = 10  # the server looks for each of them in the list of each


class ChatLists:
    """Reads the chats of users, and the marks that belong to them."""

    def __init__(
        self, database: Database, statements: Statements, pages: Pages, groups: Groups
    ) -> None:
        self._database = database
        self._statements = statements
        self._pages = pages
        self._groups = groups

    async def newest(
        self, user_id: UserId, below: int, limit: int, shown: Shown
    ) -> tuple[list[ChatRow], bool]:
        """Return the user's newest chats below an id, newest first, and whether there are more."""
        rows, groups = await asyncio.gather(
            self._database.run(self._statements.chats.bind((user_id,))),
            self._lines(user_id, shown),
        )
        lines = [*await self._shown(rows, shown), *groups]
        newest = sorted((line for line in lines if line.last_id < below), key=_newest_first)
        return await self._rows(user_id, newest[:limit], shown), len(newest) > limit

    async def by_id(
        self, user_id: UserId, after: str, limit: int, shown: Shown
    ) -> tuple[list[ChatRow], bool]:
        """Return the user's chats above an id, by id, and whether there are more."""
        groups = [each for each in await self._lines(user_id, shown) if each.chat_id > after]
        dialogs: list[Line] = []
        more = True
        while more and not dialogs:
            select = self._statements.chats_by_id.bind((user_id, after, limit + 1))
            rows = await self._database.run(select)
            more = len(rows) > limit
            dialogs = await self._shown(rows[:limit], shown)
            after = rows[:limit][-1][0] if rows else after
        if more:
            groups = [each for each in groups if each.chat_id <= after]
        lines = sorted([*dialogs, *groups])
        return await self._rows(user_id, lines[:limit], shown), more or len(lines) > limit

    async def marks(self, chat_ids: Sequence[ChatId]) -> dict[ChatId, list[MarkRow]]:
        """Chat id -> marks. A request for several chats costs about as much as one for a single
        chat.
        """
        select = self._statements.marks
        parts = _parts(chat_ids)
        answers = await asyncio.gather(
            *(self._database.run(select.bind((part,))) for part in parts)
        )
        marks: dict[ChatId, list[MarkRow]] = {chat_id: [] for chat_id in chat_ids}
        for row in (row for rows in answers for row in rows):
            marks[row[0]].append(mark(*row))
        return marks

    async def marks_of(self, user_id: UserId, chat_ids: Sequence[ChatId]) -> list[MarkRow]:
        """Return the marks of one user in these chats."""
        select = self._statements.marks_of_user
        answers = await asyncio.gather(
            *(self._database.run(select.bind((part, user_id))) for part in _parts(chat_ids))
        )
        return [mark(*row) for rows in answers for row in rows]

    async def marks_in_group(self, chat_id: ChatId, user_id: UserId) -> list[MarkRow]:
        """Like `History.marks_in_group`."""
        select = self._statements.marks_in_group.bind((chat_id, MARKS_MAX + 1))
        rows = await self._database.run(select)
        if len(rows) > MARKS_MAX:
            return await self.marks_of(user_id, [chat_id])
        return [mark(*row) for row in rows]

    async def _shown(self, rows: Sequence[tuple[ChatId, int]], shown: Shown) -> list[Line]:
        """Return the dialogs among these rows that have a message which may be shown."""
        # They run one by one, without tasks: for nearly all there is nothing to look up.
        lines = [
            Line(chat_id, await self._pages.last_shown(chat_id, last, shown))
            for chat_id, last in rows
            if not is_group(chat_id)
        ]
        return [line for line in lines if line.last_id]

    async def _lines(self, user_id: UserId, shown: Shown) -> list[Line]:
        """Return the groups to which the user belongs or did, by id."""
        rows = await self._database.run(self._statements.groups_of_user.bind((user_id,)))
        known = ((row[0], standing_of(*row[1:])) for row in rows if row[1] in shown)
        lines = list(memberships(known))
        last_ids = await self._last_ids([each.chat_id for each in lines if each.last_id == STILL])
        found = []
        for line in lines:
            if line.last_id == STILL:
                last = last_ids.get(line.chat_id, 0)
                line = line._replace(
                    last_id=await self._pages.last_shown(line.chat_id, last, shown)
                )
            found.append(line)
        return [line for line in found if line.last_id]

    async def _last_ids(self, chat_ids: Sequence[ChatId]) -> dict[ChatId, int]:
        """Group id -> the id of its last event, which may not be shown yet."""
        select = self._statements.chats_of
        parts = _parts(chat_ids, GROUPS_AT_ONCE)
        answers = await asyncio.gather(
            *(self._database.run(select.bind((part, part))) for part in parts)
        )
        rows = (row for rows in answers for row in rows)
        return {chat_id: last for owner, chat_id, last in rows if owner == chat_id}

    async def _rows(self, user_id: UserId, lines: Sequence[Line], shown: Shown) -> list[ChatRow]:
        groups = [line.chat_id for line in lines if line.standing]
        chat_ids = [line.chat_id for line in lines]
        marks, own, changed = await asyncio.gather(
            self.marks([line.chat_id for line in lines if not line.standing]),
            self.marks_of(user_id, groups),
            changes.last_ids(self._database, self._statements, chat_ids),
        )
        marks |= {chat_id: [] for chat_id in groups} | {mark.chat_id: [mark] for mark in own}
        return await asyncio.gather(
            *(
                self._row(user_id, line, changed.get(line.chat_id, 0), marks[line.chat_id], shown)
                for line in lines
            )
        )

    async def _row(
        self, user_id: UserId, line: Line, last_change: int, marks: list[MarkRow], shown: Shown
    ) -> ChatRow:
        chat_id, last, _, standing = line
        read_up_to = next((mark.read_up_to for mark in marks if mark.user_id == user_id), 0)
        select = self._statements.message.bind((chat_id, bucket_of(last), last))
        of_last = [last] if last_change else []
        rows, changed, unread = await asyncio.gather(
            self._database.run(select),
            changes.changes(self._database, self._statements, chat_id, of_last),
            self._unread(user_id, line, read_up_to, last_change, shown),
        )
        if not rows:
            raise Unavailable(
                f"the message {last} of {chat_id} has not reached all replicas yet: ask again"
            )
        group = None
        if standing:
            group = GroupLine(standing.role, await self._groups.options(chat_id, last))
        said = tuple(changed.get(last, ()))
        last_change_id = line.shown_change(last_change)
        return ChatRow(chat_id, last, rows[0][0], *unread, marks, last_change_id, said, group)

    async def _unread(
        self, user_id: UserId, line: Line, read_up_to: int, last_change: int, shown: Shown
    ) -> tuple[int, int]:
        """Count what others wrote above `read_up_to` while the user belonged to the chat, among the
        last `UNREAD_MAX` messages, without what is deleted, and how much of it mentions the user.
        """
        said: list[Said] = []
        for first_id, last_id in reversed(line.stays):
            span = Span(max(read_up_to + 1, first_id), min(last_id, line.last_id))
            said += await self._said(line.chat_id, span, UNREAD_MAX - len(said))
            if len(said) == UNREAD_MAX or first_id <= read_up_to:
                break
        unread = [each for each in said if each.user_id != user_id and each.message_id in shown]
        if unread and last_change > read_up_to:  # a change is above what it changes
            edited_up_to = line.shown_change(STILL)
            make = self._statements
            unread = await changes.now(self._database, make, line.chat_id, unread, edited_up_to)
        return len(unread), sum(each.mentions(user_id) for each in unread)

    async def _said(self, chat_id: ChatId, span: Span, limit: int) -> list[Said]:
        """Return the last messages of a span, up to `limit`."""
        said: list[Said] = []
        if span.first_id <= span.last_id:
            above, below = span.first_id - 1, span.last_id + 1
            async for bucket in self._pages.buckets_from(chat_id, span.last_id, bucket_of(above)):
                key = (chat_id, bucket, above, below, limit - len(said))
                rows = await self._database.run(self._statements.said_above.bind(key))
                said += (Said(*row) for row in rows)
                if len(said) == limit:
                    break
        return said


def mark(chat_id: ChatId, user_id: UserId, delivered: int, read: int, settings: Any) -> MarkRow:
    """Return the mark that is stored as these values."""
    return MarkRow(chat_id, user_id, delivered, read, settings or b"")


def _newest_first(line: Line) -> int:
    return -line.last_id


def _parts(chat_ids: Sequence[ChatId], at_once: int = CHATS_AT_ONCE) -> Iterator[list[ChatId]]:
    for at in range(0, len(chat_ids), at_once):
        yield list(chat_ids[at : at + at_once])
