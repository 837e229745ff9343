"""Tells one endpoint of the users of one partition who have unread messages and no session."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing, suppress
from typing import Final

from cecochat.domain.errors import ProducerEnded, Trimmed, Unavailable
from cecochat.domain.hooks.endpoints import Endpoint
from cecochat.domain.hooks.lane import Lane
from cecochat.domain.hooks.silences import Counts, Seen, Silence, Unread
from cecochat.domain.hooks.silences import Silences as Decided
from cecochat.domain.hooks.told import Told, chat_matches
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.ports.backplane import MESSAGES, Log, Record
from cecochat.ports.reading import decode_once, records_after
from cecochat.ports.silences import Silences
from cecochat.runtime.clock import now_ms
from cecochat.runtime.lifetime import check_cancelled
from cecochat.servers.hooks.beginning import beginning, fold_below
from cecochat.servers.hooks.people import People
from cecochat.servers.hooks.sending import Means, Sending
from cecochat.servers.hooks.telling import RETRY_S, first_error
from cecochat.v1.events_pb2 import Event

log = logging.getLogger(__name__)

LATE_MS: Final = 3_600_000
"""Without any progress of its own, a reader begins at most so far back."""
GATHER_S: Final = 0.1
COUNTS_AT_ONCE: Final = 8


class Noticing:
    """Reads, asks, decides, sends and remembers; `run` runs until it is cancelled.

    `delay_ms` returns how long a user has to be away.
    """

    def __init__(
        self,
        log_: Log,
        endpoint: Endpoint,
        partition: int,
        means: Means,
        people: People,
        store: Silences,
        delay_ms: Callable[[], int],
    ) -> None:
        self.endpoint = endpoint
        self.partition = partition
        self.group = f"{endpoint.group}.unread"
        self.lane: Lane | None = None
        self.place: Place | None = None  # as of `Telling`
        self._backplane = log_.backplane
        self._here = Here(partition, log_.partition_of)
        self._means = means
        self._people = people
        self._store = store
        self._delay_ms = delay_ms
        self._fields = {"partition": partition, "endpoint": endpoint.name}
        self._moved = asyncio.Event()  # more was read
        self._woken = asyncio.Event()  # there may be something to look at, or to store

    async def run(self) -> None:
        """Tell until cancelled. If the log or the store does not answer, try again."""
        while True:
            try:
                await self._follow()
            except* (Unavailable, ProducerEnded, Trimmed) as errors:
                check_cancelled()
                self._means.burial.forget()
                log.warning(
                    "endpoint %s is not told of users of partition %s now: %s",
                    *(self.endpoint.name, self.partition, first_error(errors)),
                    extra=self._fields,
                )
            await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        since_ms = max(self.endpoint.created_ms, now_ms() - LATE_MS)
        start = await beginning(self._backplane, self.group, self._here, since_ms, None)
        stored = await self._store.load(self.group, self.partition)
        told = {user_id: Silence.decode(value) for user_id, value in stored.items()}
        decided = Decided(told, start.place)
        decided.forget(start.place.offset)
        position, fold = await fold_below(
            self._backplane, self._here, start.place.offset, with_groups=True
        )
        self.lane = Lane(start.place)
        sending = Sending(
            *(self.lane, self.endpoint, self.partition, self._means),
            is_due=lambda told: _to_send(decided, told) is not None,
            done=lambda told: self._dealt_with(decided, told),
        )
        self._add(sending, decided, decided.untaken)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(sending.run())
                group.create_task(self._read(decided, fold, position, start.place.offset))
                group.create_task(self._look(decided, sending))
        finally:
            await self._keep(decided)  # so that an orderly stop repeats nothing

    # -- reading

    async def _read(self, decided: Decided, fold: Fold, position: int, first: int) -> None:
        batches = records_after(self._backplane, self.partition, Place(fold.clock_ms, position))
        async with aclosing(batches):
            async for batch in batches:
                self._take(decided, fold, batch, first)
                self._moved.set()
                self._woken.set()

    def _take(self, decided: Decided, fold: Fold, batch: Sequence[Record], first: int) -> None:
        for record in batch:
            place = Place(fold.clock_ms, record.offset)
            known = decode_once(record)
            counts = fold.step(record.offset, known, record.appended_at_ms)
            if counts and isinstance(known, Origin | Copy):
                if record.offset >= first:
                    self._note(decided, fold, known, place, record.appended_at_ms)
                if known.group_event and fold.groups:
                    fold.groups.forget(known.group_event)
            if record.offset >= first:
                decided.read_to(Place(fold.clock_ms, record.offset + 1))

    def _note(
        self, decided: Decided, fold: Fold, known: Origin | Copy, place: Place, at_ms: int
    ) -> None:
        event = _event_of(known)
        chat_id, author = ChatId(event.chat_id), UserId(event.user_id)
        if event.HasField("receipt") and self._here.has(author):
            up_to = max(event.receipt.delivered_up_to, event.receipt.read_up_to)
            decided.receipt(author, chat_id, up_to, place.offset)
        elif event.HasField("message") and self._is_chosen(chat_id):
            unread = Unread(chat_id, event.id, author, place, at_ms)
            for user_id in self._recipients(fold, known, event):
                if user_id != author:
                    decided.message(user_id, unread, self._delay_ms())

    def _is_chosen(self, chat_id: ChatId) -> bool:
        return chat_matches(chat_id, self.endpoint.app, self.endpoint.chats)

    def _recipients(self, fold: Fold, known: LogRecord, event: Event) -> Iterator[UserId]:
        """Return those who live here and get a message by this record."""
        match known:
            case Origin() | Copy() if known.group_event:
                assert fold.groups, "it says where it is"
                yield from fold.groups.all_concerned(event)
            case Origin(serves_home=True):
                yield from filter(self._here.has, known.recipient_ids)
            case Copy():
                yield from known.recipient_ids

    # -- looking at those who may be away

    async def _look(self, decided: Decided, sending: Sending) -> None:
        while True:
            await sending.room()
            if users := decided.due(now_ms()):
                await self._decide(decided, sending, users)
            place = decided.place
            await self._keep(decided)
            self.place = place
            decided.forget(place.offset)
            await asyncio.sleep(GATHER_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_seconds_until(decided.next_ms)):
                    await self._woken.wait()
            self._woken.clear()

    async def _decide(self, decided: Decided, sending: Sending, users: list[UserId]) -> None:
        away, below = await self._away(decided, users)
        counted = await self._count(list(away), Place(0, below))
        for user_id, counts in counted.items():
            if decided.choose(user_id, counts, below) is None:
                decided.dismiss(user_id, below)
        asked = [each for each in counted if decided.choose(each, counted[each], below)]
        seen, below = await self._away(decided, asked) if asked else ({}, below)
        chosen = [
            user_id
            for user_id, each in seen.items()
            if decided.decide(user_id, each.last_session, counted[user_id], below, now_ms())
        ]
        await self._keep(decided)
        self._add(sending, decided, chosen)

    async def _away(
        self, decided: Decided, users: Sequence[UserId]
    ) -> tuple[dict[UserId, Seen], int]:
        """Return which of these users are away, and the end of the log that this was decided by:
        whoever was owner before that has read it, and so knows whether it still is.
        """
        _, end = await self._backplane.bounds(MESSAGES, self.partition)
        while decided.read_below < end:
            self._moved.clear()
            await self._moved.wait()
        seen = await self._people.seen(self.partition, users, end)
        delay_ms, at_ms = self._delay_ms(), now_ms()
        away = {
            user_id: each
            for user_id, each in seen.items()
            if decided.seen(user_id, each, end, delay_ms, at_ms)
        }
        return away, end

    async def _count(self, users: Sequence[UserId], below: Place) -> dict[UserId, Counts]:
        """Return what users have not read, of those for whom a history server says it. For those
        who are kept out it is nothing, so that nobody is told of them.
        """
        kept_out = await self._people.kept_out(users, now_ms())
        if kept_out is None:
            return {}
        found: dict[UserId, Counts] = {user_id: {} for user_id in kept_out}
        gate = asyncio.Semaphore(COUNTS_AT_ONCE)

        async def count(user_id: UserId) -> None:
            async with gate:
                said = await self._people.counts(user_id, self.partition, below, now_ms())
            if said is not None:
                found[user_id] = said

        async with asyncio.TaskGroup() as group:
            for user_id in users:
                if user_id not in kept_out:
                    group.create_task(count(user_id))
        return found

    # -- telling

    async def _keep(self, decided: Decided) -> None:
        if changes := decided.changes():
            values = {user_id: each.encode() for user_id, each in changes.items()}
            await self._store.store(self.group, self.partition, values)

    def _dealt_with(self, decided: Decided, told: Told) -> None:
        decided.taken(UserId(told.chat_id), told.id)
        self._woken.set()

    def _add(self, sending: Sending, decided: Decided, users: Sequence[UserId]) -> None:
        for user_id in users:
            if silence := decided.to_send(user_id):
                sending.lane.add(silence.told(user_id), sending.lane.place, silence.at_ms)
        sending.wake()


def _to_send(decided: Decided, told: Told) -> Silence | None:
    """Return the silence that a webhook tells, if it still has to be sent."""
    silence = decided.to_send(UserId(told.chat_id))
    return silence if silence and silence.id == told.id else None


def _seconds_until(at_ms: int | None) -> float | None:
    return None if at_ms is None else max(0.0, (at_ms - now_ms()) / 1_000)


def _event_of(known: Origin | Copy) -> Event:
    match known:
        case Origin():
            return known.parsed
        case Copy(group_event=None):
            return Event.FromString(known.event)
        case Copy():
            assert known.group_event
            return known.group_event
