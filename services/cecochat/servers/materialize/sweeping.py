"""Sweeps: takes out of the history and the index what chats do not keep any more.

Nobody is told of it from the moment at which it is too old, wherever it still stands; this removes
it, unless there is a hold. Who wrote when in which chat stays, so that a send that comes again is
known for good.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import aclosing
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge

from cecochat.documents.holds import KnownHolds
from cecochat.domain.changes.about import about
from cecochat.domain.changes.texts import age_id
from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.cluster.retention import Retention
from cecochat.domain.errors import Unavailable
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.search.entries import Gone
from cecochat.ports.history import History, MessageRow
from cecochat.ports.search import Search
from cecochat.runtime.clock import now_ms
from cecochat.servers.materialize.rows import blank_row
from cecochat.v1.events_pb2 import Event

log = logging.getLogger(__name__)

EVERY_S: Final = 3_600.0
WHOLE_EVERY: Final = 24
"""Every so many sweeps, and at each start, everything is looked at: something may have been written
late, by a server that was behind.
"""
RETRY_S: Final = 10.0
LATE_MS: Final = 60_000
"""How long after it is too old a text is removed, so that clocks that differ do not matter."""
AGAIN_MS: Final = 3_600_000  # how far a sweep looks back behind the one before
PAGE: Final = 200


LetGo = Callable[[Sequence[Event]], Awaitable[None]]


class SweepMetrics:
    """The metrics of the sweeps."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.texts = Counter(
            "cecochat_expired_texts",
            "Texts that were removed because they were too old.",
            registry=registry,
        )
        self.done_at = Gauge(
            "cecochat_sweep_timestamp_seconds",
            "When the last sweep for what is too old came to its end, s since 1970.",
            registry=registry,
        )


class _Swept(NamedTuple):
    """What the last sweep that came to its end did."""

    retention: Retention
    partitions: frozenset[int]
    at_ms: int


class Sweeper:
    """Sweeps the chats whose ids belong to the partitions that `mine` returns."""

    def __init__(
        self,
        history: History,
        search: Search | None,
        holds: KnownHolds,
        partitions: int,
        mine: Callable[[], Collection[int]],
        registry: CollectorRegistry,
        let_go: LetGo | None = None,
    ) -> None:
        self._history = history
        self._let_go = let_go  # deletes the files of messages; None: there are none
        self._search = search
        self._holds = holds
        self._partitions = partitions
        self._mine = mine
        self._retention = Retention()
        self._changed = asyncio.Event()
        self._swept: _Swept | None = None
        self._since_whole = 0
        self._replaced = False  # whether files may have what was replaced
        self._metrics = SweepMetrics(registry)

    def keep(self, retention: Retention) -> None:
        """Follow other rules, and sweep by them soon."""
        self._retention = retention
        self._changed.set()

    def look_again(self) -> None:
        """Sweep everything soon: a hold may have been lifted."""
        self._swept = None
        self._changed.set()

    async def run(self) -> None:
        """Sweep until cancelled. If the database does not answer, try again."""
        await self._changed.wait()
        while True:
            self._changed.clear()
            wait_s = EVERY_S
            try:
                await self.sweep(now_ms())
            except Unavailable as error:
                log.warning("what is too old is still in the history: %s", error)
                wait_s = RETRY_S
            try:
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()
            except TimeoutError:
                pass

    async def sweep(self, at_ms: int) -> int:
        """Remove the texts that were too old by `at_ms` since 1970, and return how many. Raises
        `Unavailable`.
        """
        this = _Swept(self._retention, frozenset(self._mine()), at_ms)
        since_ms = self._since_ms(this)
        count = 0
        if this.retention.is_set:
            async with aclosing(self._history.chat_ids()) as pages:
                async for chat_ids in pages:
                    for chat_id in chat_ids:
                        if partition_of(chat_id, self._partitions) in this.partitions:
                            count += await self._sweep_chat(chat_id, this, since_ms)
        if this.retention.is_set:
            await self._purge(is_whole=not since_ms)
        self._swept = this
        self._since_whole = self._since_whole + 1 if since_ms else 0
        self._metrics.done_at.set(at_ms / 1_000)
        return count

    def _since_ms(self, this: _Swept) -> int:
        """Return when the sweep before was, of which this one is a continuation; 0: of none."""
        before = self._swept
        if before is None or before[:2] != this[:2] or self._since_whole + 1 >= WHOLE_EVERY:
            return 0
        return before.at_ms - AGAIN_MS

    async def _sweep_chat(self, chat_id: ChatId, this: _Swept, since_ms: int) -> int:
        below = this.retention.kept_from(chat_id, this.at_ms - LATE_MS)
        after = this.retention.kept_from(chat_id, since_ms) if since_ms else 0
        count, has_more = 0, True
        while has_more and after < below - 1:
            page = await self._history.messages(
                chat_id, before=None, after=after, limit=PAGE, with_changes=True
            )
            events = [Event.FromString(each) for each in page.events]
            has_more = page.has_more
            after = events[-1].id if events else after
            count += await self._blank(chat_id, [each for each in events if age_id(each) < below])
        return count

    async def _blank(self, chat_id: ChatId, events: Sequence[Event]) -> int:
        """Take out what these say, and the edits of these messages that count."""
        edits = await self._history.changes(chat_id, [each.id for each in events])
        found = {each.id: each for each in events}
        found |= {each.id: each for some in edits.values() for each in map(Event.FromString, some)}
        rows = [row for each in found.values() if (row := blank_row(_row(each)))]
        if not rows or await self._holds.cover(chat_id):
            return 0
        if self._let_go:
            await self._let_go(events)  # first, since nobody knows afterwards which they had
        self._replaced = True
        await self._history.blank(rows)
        if self._search:
            gone = [
                Gone(row.about.message_id if row.about else row.message_id, None) for row in rows
            ]
            await self._search.write(gone, None, None)
        self._metrics.texts.inc(len(rows))
        return len(rows)

    async def _purge(self, *, is_whole: bool) -> None:
        """Have the files lose what was removed. For the index this is done once a day, since all of
        it is written again.
        """
        if self._replaced or is_whole:
            await self._history.purge()
        self._replaced = False
        if self._search and is_whole:
            await self._search.purge()


def _row(event: Event) -> MessageRow:
    """Return the row of a message or a change, as far as `History.blank` needs it."""
    place = event.id, ChatId(event.chat_id), UserId(event.user_id)
    return MessageRow(*place, (), event.SerializeToString(), about(event))
