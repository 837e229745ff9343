"""Gathers what the log, the watermarks, the sessions and the database know about one message.

Traces are never used, so that it works for every message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple, TypeVar

from cecochat.domain.changes.about import about
from cecochat.domain.errors import Refusal, Unavailable
from cecochat.domain.log.ids import ChatId, UserId, is_group, partition_in
from cecochat.domain.log.place import NOWHERE
from cecochat.domain.log.records import Origin
from cecochat.internal.client import InternalClient
from cecochat.ports.backplane import FORWARD_GROUP, MESSAGES, Log
from cecochat.ports.discovery import Instance
from cecochat.ports.history import History, MarkRow
from cecochat.ports.reading import dealt_with, still_holds
from cecochat.runtime.asking import Asking
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.where import answer as where
from cecochat.where import finding
from cecochat.where.answer import Facts, Owner, Recipient, RecordPlace
from cecochat.where.finding import Found, Standing
from cecochat.where.sessions import Sessions, sessions_on

MEMBERS_MAX = 100  # of a group, whose sessions are looked at
DATABASE_S = 3.0  # a database that is down is a fact, too, and must not hide the others

T = TypeVar("T")


class Sources(NamedTuple):
    """Where the facts come from. `live` returns the live messaging servers."""

    log: Log
    history: History
    live: Callable[[], tuple[Instance, ...]]
    asking: Asking


class _Target(NamedTuple):
    """A partition that has recipients."""

    standing: Standing
    forwarded: bool
    copy: RecordPlace | None


class Gathering:
    """Gathers the facts about one message. Call `locate` first.

    Its methods raise `Trimmed` and `Unavailable`.
    """

    def __init__(self, sources: Sources, message_id: int) -> None:
        self.event: Event | None = None
        self.counts = True  # until the log says otherwise
        self._sources = sources
        self._message_id = message_id
        self._partition = partition_in(message_id)
        self._found: Found | None = None
        self._kept = True
        self._members: tuple[UserId, ...] = ()  # of the group, if it is in one
        self._standings: dict[int, Standing] = {}

    async def locate(self, chat_id: ChatId | None) -> None:
        """Find the message in the log or, if the log no longer holds it, in the chat's history."""
        found, self._kept = await finding.find_origin(
            self._sources.log.backplane, self._partition, self._message_id
        )
        if found and isinstance(found.content, Origin):
            self._found, self.event, self.counts = found, found.content.parsed, found.counts
        elif chat_id:
            self.event = await self._row(chat_id)

    async def authorise(self, viewer: UserId) -> None:
        """Look only at what the sender or a recipient may know. Raises `Refusal` for anybody else,
        and for a message that is absent or does not count: all in the same way.
        """
        if not (self.event and self.counts and await self._is_of(viewer, self.event)):
            raise Refusal(
                errors_pb2.ERROR_CODE_NOT_FOUND,
                f"no message {self._message_id} of yours is in the log: if it is older, name its "
                "chat",
            )
        self._members = (viewer,) if viewer != self.event.user_id else ()

    async def _is_of(self, viewer: UserId, event: Event) -> bool:
        if viewer == event.user_id or not is_group(event.chat_id):
            return viewer in (event.user_id, *event.recipient_ids)
        seen = await self._sources.history.groups.seen(viewer, ChatId(event.chat_id))
        return seen is not None and seen.covers(event.id)

    async def find_members(self) -> None:
        """Find out who the recipients are, if it is in a group: the first `MEMBERS_MAX`."""
        if self.event and is_group(self.event.chat_id):
            people = self._sources.history.groups.people(
                ChatId(self.event.chat_id), at=self._message_id, after="", limit=MEMBERS_MAX
            )
            found, _ = await _or_none(people) or ([], False)
            members = (user_id for user_id, standing in found if standing.role)
            self._members = tuple(user for user in members if user != self._sender)

    async def facts(self) -> Facts:
        """Return what can be found out."""
        forwarded_to = await self._forwarded_to()
        targets = await self._targets(forwarded_to)
        sessions = await self._sessions()
        return Facts(
            message_id=self._message_id,
            event=self.event,
            record=await self._record(),
            kept=self._kept,
            owner=await self._owner(self._partition, self._sender, sessions),
            forwarded_to=forwarded_to,
            receivers=await self._receivers(targets, sessions),
            materialized_to=await self._materialized_to(),
            row=await self._has_row(),
            row_at_ms=await self._row_at_ms(),
        )

    @property
    def _sender(self) -> UserId | None:
        return UserId(self.event.user_id) if self.event else None

    @property
    def _recipients(self) -> tuple[UserId, ...]:
        if not (self.event and self.counts):
            return ()
        if is_group(self.event.chat_id):
            return self._members
        return tuple(map(UserId, self.event.recipient_ids))

    # -- the log

    async def _forwarded_to(self) -> int:
        """Return the watermark; 0 if the log has lost its end, since the owner then begins anew."""
        backplane = self._sources.log.backplane
        committed = await backplane.committed(FORWARD_GROUP, MESSAGES, self._partition)
        done = await dealt_with(backplane, self._partition, committed)
        return 0 if done is None else done + 1

    async def _standing(self, partition: int) -> Standing:
        if partition not in self._standings:
            self._standings[partition] = await finding.standing(
                self._sources.log.backplane, partition
            )
        return self._standings[partition]

    async def _record(self) -> where.Record | None:
        found, partition, backplane = self._found, self._partition, self._sources.log.backplane
        if not (found and isinstance(found.content, Origin)):
            return None
        return where.Record(
            place=_place(partition, found),
            epoch=found.content.epoch,
            number=found.content.number,
            server_id=await finding.taken_over_by(backplane, partition, found.content.epoch),
            counts=found.counts,
            epoch_in_force=found.epoch,
            server_in_force=await finding.taken_over_by(backplane, partition, found.epoch),
            traceparent=dict(found.record.headers).get("traceparent"),
            in_doubt=found.in_doubt,
        )

    async def _targets(self, forwarded_to: int) -> dict[int, _Target]:
        wanted = set(map(self._sources.log.partition_of, self._recipients))
        return {each: await self._target(each, forwarded_to) for each in sorted(wanted)}

    @property
    def _serves_home(self) -> bool:
        content = self._found.content if self._found else None
        return isinstance(content, Origin) and content.serves_home

    async def _target(self, partition: int, forwarded_to: int) -> _Target:
        """Retention waits until a message is forwarded, so what it dropped was forwarded."""
        stands = await self._standing(partition)
        if self._found is None:
            return _Target(stands, forwarded=True, copy=None)
        origin = self._found.place
        if partition == self._partition and self._serves_home:
            return _Target(stands, forwarded=True, copy=_place(partition, self._found))
        if origin.lies_above(stands.fold.high_of(self._partition)):
            return _Target(stands, forwarded_to > origin.offset, copy=None)
        copy, _ = await finding.find_copy(
            self._sources.log.backplane, partition, self._partition, origin
        )
        return _Target(stands, forwarded=True, copy=copy and _place(partition, copy))

    # -- the sessions

    async def _sessions(self) -> dict[UserId, Sessions]:
        """Ask the owners about the sessions of the sender and the recipients."""
        live = {each.instance_id: each for each in self._sources.live()}
        asked: dict[str, list[UserId]] = {}
        for user_id in (*([self._sender] if self._sender else ()), *self._recipients):
            stands = await self._standing(self._sources.log.partition_of(user_id))
            if stands.server_id in live:
                asked.setdefault(stands.server_id, []).append(user_id)
        async with self._sources.asking() as http:
            client = InternalClient(http)
            answers = await asyncio.gather(
                *(sessions_on(client, live[server], user_ids) for server, user_ids in asked.items())
            )
        return {user_id: each for answer in answers for user_id, each in answer.items()}

    async def _owner(
        self, partition: int, user_id: UserId | None, sessions: dict[UserId, Sessions]
    ) -> Owner:
        server_id = (await self._standing(partition)).server_id
        live = any(each.instance_id == server_id for each in self._sources.live())
        told = sessions.get(user_id) if user_id else None
        return Owner(server_id, live, told.read_to if told else None)

    # -- the database

    async def _receivers(
        self, targets: dict[int, _Target], sessions: dict[UserId, Sessions]
    ) -> tuple[Recipient, ...]:
        if not (self.event and targets):
            return ()
        marks = await _or_none(self._marks(ChatId(self.event.chat_id)))
        return tuple([await self._receiver(u, targets, sessions, marks) for u in self._recipients])

    async def _marks(self, chat_id: ChatId) -> list[MarkRow]:
        """Return the marks of the recipients, among others."""
        history = self._sources.history
        if len(self._members) == 1:
            return await history.marks_in_group(chat_id, self._members[0])
        return await history.marks(chat_id)

    async def _receiver(
        self,
        user_id: UserId,
        targets: dict[int, _Target],
        sessions: dict[UserId, Sessions],
        marks: list[MarkRow] | None,
    ) -> Recipient:
        partition = self._sources.log.partition_of(user_id)
        mark = next((each for each in marks or () if each.user_id == user_id), None)
        nothing = None if marks is None else 0
        return Recipient(
            user_id=user_id,
            partition=partition,
            owner=await self._owner(partition, user_id, sessions),
            devices=sessions[user_id].devices if user_id in sessions else None,
            forwarded=targets[partition].forwarded,
            copy=targets[partition].copy,
            delivered_up_to=mark.delivered_up_to if mark else nothing,
            read_up_to=mark.read_up_to if mark else nothing,
        )

    async def _materialized_to(self) -> int | None:
        """Return the progress; -1 if the log has lost its end, since materialize begins anew."""
        progress = await _or_none(self._sources.history.progress(self._sources.log.id))
        if progress is None:
            return None
        place = progress.get(self._partition, NOWHERE)
        held = await still_holds(self._sources.log.backplane, self._partition, place)
        return place.offset if held else -1

    async def _has_row(self) -> bool | None:
        """Return None if it has no row, as a receipt, or if the database does not answer."""
        if not (self.event and (self.event.HasField("message") or about(self.event))):
            return None
        page = await _or_none(self._page(ChatId(self.event.chat_id)))
        return None if page is None else page is not _NO_ROW

    async def _row_at_ms(self) -> int | None:
        if not (self.event and self.event.HasField("message")):
            return None
        history = self._sources.history
        chat_id = ChatId(self.event.chat_id)
        return await _or_none(history.written_at_ms(chat_id, self._message_id))

    async def _row(self, chat_id: ChatId) -> Event | None:
        page = await _or_none(self._page(chat_id))
        return page if page is not _NO_ROW else None

    async def _page(self, chat_id: ChatId) -> Event:
        page = await self._sources.history.messages(
            chat_id, before=None, after=self._message_id - 1, limit=1, with_changes=True
        )
        events = [Event.FromString(each) for each in page.events]
        return next((each for each in events if each.id == self._message_id), _NO_ROW)


_NO_ROW = Event()


async def _or_none(call: Awaitable[T]) -> T | None:
    """Return None if the database does not answer."""
    try:
        async with asyncio.timeout(DATABASE_S):
            return await call
    except (Unavailable, TimeoutError):
        return None


def _place(partition: int, found: Found) -> RecordPlace:
    return RecordPlace(partition, found.record.offset, found.record.appended_at_ms)
