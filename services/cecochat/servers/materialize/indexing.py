"""Indexes the words of messages for the search, one partition at a time: from the log what is new,
and from the history what was there before, or what the log no longer has.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing

from prometheus_client import CollectorRegistry

from cecochat.domain.cluster.retention import Retention
from cecochat.domain.cluster.revocations import Revocations
from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Origin
from cecochat.domain.search.entries import entries_of
from cecochat.ports.backplane import MESSAGES, Log, Record
from cecochat.ports.history import History, Progress
from cecochat.ports.reading import decode_once, known_fold_at, records_after, still_holds
from cecochat.ports.search import Search, Turn
from cecochat.runtime.metrics import Lag
from cecochat.sealing.keyring import KeyRing
from cecochat.sealing.opening import Opening
from cecochat.v1.events_pb2 import Event

log = logging.getLogger(__name__)

GROUP = "search"
RETRY_S = 2.0
EVENTS_AT_ONCE = 100  # of the history, so that they keep the event loop for a few ms


def search_lag(registry: CollectorRegistry) -> Lag:
    """Return the metric of how far the index is behind the log."""
    return Lag("search", "has in the log and not in the index of words", registry)


class Indexer:
    """Keeps an index up with the log. Nothing but searches waits for it."""

    def __init__(
        self,
        of: Log,
        history: History,
        search: Search,
        keys: KeyRing,
        registry: CollectorRegistry,
    ) -> None:
        self._log = of
        self._history = history
        self._search = search
        self._keys = keys
        self._opening = Opening(keys)
        self._opened = asyncio.Lock()  # held from when texts are opened to when they are indexed
        self._forgotten: set[UserId] = set()
        self._revoked = asyncio.Event()
        self._reached: dict[int, int] = {}  # partition -> the offset up to which it is indexed
        self._lag = search_lag(registry)

    async def run(self) -> None:
        """Index until cancelled. If the log, the history or the index does not answer, try
        again.
        """
        while True:
            try:
                await self._begin()
                await self._log.backplane.share(MESSAGES, GROUP, self._work)
            except (Unavailable, Trimmed) as error:
                log.warning("the search is not kept up now: %s", error)
                await asyncio.sleep(RETRY_S)

    def keep(self, retention: Retention) -> None:
        """Follow other rules of what is too old to be indexed."""
        self._opening.keep(retention)

    def look_for_erased(self, _: Revocations) -> None:
        """Note that somebody may have been erased."""
        self._revoked.set()

    async def forget_erased(self) -> None:
        """Take the words of erased users out of the index, until cancelled."""
        self._revoked.set()
        while True:
            await self._revoked.wait()
            self._revoked.clear()
            try:
                await self._forget_erased()
            except Unavailable as error:
                log.warning("words of erased users are still in the index: %s", error)
                await asyncio.sleep(RETRY_S)
                self._revoked.set()

    async def _forget_erased(self) -> None:
        """Nothing that was opened before is indexed after this."""
        async with self._opened:
            self._opening.forget()
            erased = {each.user_id for each in await self._keys.erased()} - self._forgotten
            if authors := await self._search.authors(erased):
                await self._search.forget(authors)
            if authors or (erased and not self._forgotten):  # or forgotten just before the last end
                await self._search.purge()
            self._forgotten |= erased

    async def _write(self, events: Sequence[bytes], progress: Progress | None, turn: Turn) -> None:
        """Index what these events say."""
        async with self._opened:
            (plain,) = await self._opening.events(events)
            await self._search.write(entries_of(plain), progress, turn)

    async def _begin(self) -> None:
        """Make the index again from the history if it cannot be continued from the log. One server
        does it, while the others wait.
        """
        if await self._is_whole():
            return
        async with self._search.alone():
            if not await self._is_whole():
                await self._make_again()

    async def _is_whole(self) -> bool:
        """Return whether the log has all that comes after what is indexed, in each partition."""
        places = await self._search.progress(self._log.id)
        for partition in range(self._log.partitions):
            if not await self._continues(partition, places.get(partition)):
                return False
        return True

    async def _continues(self, partition: int, place: Place | None) -> bool:
        """Return whether the log still has all that comes after a place in it."""
        if place is None:
            return False
        start, _ = bounds = await self._log.backplane.bounds(MESSAGES, partition)
        holds = await still_holds(self._log.backplane, partition, place, bounds)
        return holds and place.offset >= start - 1

    async def _make_again(self) -> None:
        """Index all that the history has. How far that is, is asked before it is read, and stored
        after it is indexed.
        """
        places = await self._history.progress(self._log.id)
        turn = await self._search.clear()
        count = 0
        async with aclosing(self._history.chat_ids()) as pages:
            async for chat_ids in pages:
                count += len(chat_ids)
                for chat_id in chat_ids:
                    await self._index(chat_id, turn)
        for partition in range(self._log.partitions):
            start, _ = await self._log.backplane.bounds(MESSAGES, partition)
            clock_ms, offset = places.get(partition, NOWHERE)
            progress = Progress(self._log.id, partition, max(offset, start - 1), clock_ms)
            await self._search.write([], progress, turn)
        if count:
            log.info("the words of the messages in %s chats of the history are indexed", count)

    async def _index(self, chat_id: ChatId, turn: Turn) -> None:
        after, more = 0, True
        while more:
            events, more = await self._history.messages(
                chat_id, before=None, after=after, limit=EVENTS_AT_ONCE, with_changes=True
            )
            await self._write(events, None, turn)
            after = Event.FromString(events[-1]).id if events else after

    async def _work(self, partition: int) -> None:
        try:
            await self._follow(partition)
        finally:
            self._reached.pop(partition, None)

    async def _follow(self, partition: int) -> None:
        taken = await self._search.take(self._log.id, partition)
        if taken is None:
            raise Unavailable("the index is being made again")
        turn, place = taken
        fold = await self._fold(partition, place)
        self._reached[partition] = place.offset
        batches = records_after(self._log.backplane, partition, place)
        async with aclosing(batches):
            async for batch in batches:
                events = _events(fold, batch)
                offset = batch[-1].offset
                progress = Progress(self._log.id, partition, offset, fold.clock_ms)
                await self._write(events, progress, turn)
                self._reached[partition] = offset
                await self._measure()
                await asyncio.sleep(self._search.gather_s)

    async def _fold(self, partition: int, place: Place) -> Fold:
        """Return the fold at a place. Raises `Unavailable` if what is left of the log does not say;
        the history may get further than that, and then the index is made from it again.
        """
        if fold := await known_fold_at(self._log.backplane, partition, place.offset):
            return fold
        known = (await self._history.progress(self._log.id)).get(partition, NOWHERE)
        if known.offset > place.offset:
            async with self._search.alone():
                await self._search.clear()
        raise Unavailable(f"the log of partition {partition} does not say yet which records count")

    async def _measure(self) -> None:
        reached = dict(self._reached)
        ends = [(await self._log.backplane.bounds(MESSAGES, each))[1] for each in reached]
        self._lag.set({p: end - 1 - reached[p] for p, end in zip(reached, ends, strict=True)})


def _events(fold: Fold, records: Sequence[Record]) -> list[bytes]:
    """Fold the records of a partition, in order, and return the events of the origins that
    count.
    """
    found = []
    for record in records:
        decoded = decode_once(record)
        if fold.step(record.offset, decoded, record.appended_at_ms) and isinstance(decoded, Origin):
            found.append(decoded.event)
    return found
