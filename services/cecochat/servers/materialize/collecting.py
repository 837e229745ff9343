"""Deletes files that no message names any more, or never did, one partition at a time.

Each upload is noted before it begins. Once the log has the message that names it, its note goes.
What is still noted two days later was named by nobody. A deletion of a message deletes its files,
and notes them again, since a URL that was signed before could bring one back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import aclosing, suppress

from prometheus_client import CollectorRegistry, Counter

from cecochat.documents.holds import KnownHolds
from cecochat.domain.changes.attachments import KEPT_MS, begun_ms
from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import ChatId, UserId, partition_in
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Origin
from cecochat.ports.backplane import FILES_GROUP, MESSAGES, Log, Record
from cecochat.ports.files import Files, Noted, key_of
from cecochat.ports.history import History
from cecochat.ports.reading import (
    decode_once,
    goes_on_at,
    known_fold_at,
    read_cut_log,
    records_after,
    still_holds,
)
from cecochat.runtime.clock import now_ms
from cecochat.v1.events_pb2 import Event

log = logging.getLogger(__name__)

RETRY_S = 2.0
COMMIT_EVERY_S = 10.0
SWEEP_EVERY_S = 600.0
APART_MS = 600_000  # how far the clocks of a connect server and of the log may be apart
MATERIALIZED_S = 0.1  # how often to see whether the history has a message that was deleted


def deleted_files(registry: CollectorRegistry) -> Counter:
    """Return the metric of what was deleted."""
    return Counter(
        "cecochat_files_deleted",
        "Files that were deleted, by reason: their message was deleted or has expired, or no "
        "message named them.",
        ["reason"],
        registry=registry,
    )


class Collector:
    """Follows the log for one store. Nothing waits for it."""

    def __init__(
        self,
        of: Log,
        files: Files,
        history: History,
        holds: KnownHolds,
        registry: CollectorRegistry,
    ) -> None:
        self._log = of
        self._holds = holds
        self._files = files
        self._history = history
        self._deleted = deleted_files(registry)

    async def run(self) -> None:
        """Collect until cancelled."""
        await self._log.backplane.share(MESSAGES, FILES_GROUP, self._work)

    async def _work(self, partition: int) -> None:
        """Collect in one partition. If the log, the history or the store does not answer, try
        again.
        """
        while True:
            try:
                await Following(self._log, partition, self).run()
            except* (Unavailable, Trimmed) as errors:
                why = errors.exceptions[0]
                log.warning("files of partition %s are not collected now: %s", partition, why)
            await asyncio.sleep(RETRY_S)

    async def named(self, partition: int, event: Event) -> None:
        """Forget the notes of what a message carries."""
        if event.message.attachments:
            user_id = UserId(event.user_id)
            await self._files.settle(
                partition,
                [
                    Noted(begun_ms(each.id), key_of(user_id, each.id))
                    for each in event.message.attachments
                ],
            )

    async def deleted(self, partition: int, offset: int, event: Event) -> None:
        """Delete what a message carried, if this deletion of it counts and there is no hold."""
        message = await self._message(partition, offset, event)
        if message.user_id != event.user_id and not event.deletion.as_admin:
            return
        is_held = message.message.attachments and await self._holds.cover(ChatId(event.chat_id))
        if not is_held:
            await self._delete([message], "message")

    async def let_go(self, messages: Sequence[Event]) -> None:
        """Delete what these messages carried, since they are too old to be kept."""
        await self._delete(messages, "expired")

    async def _delete(self, messages: Sequence[Event], reason: str) -> None:
        for message in messages:
            author = UserId(message.user_id)
            keys = [key_of(author, each.id) for each in message.message.attachments]
            if keys:
                notes = [Noted(now_ms(), key) for key in keys]
                await self._files.note(partition_in(message.id), notes)
                await self._files.delete(keys)
                self._deleted.labels(reason).inc(len(keys))

    async def _message(self, partition: int, offset: int, event: Event) -> Event:
        """Return the message of a deletion, once the history has all that came before."""
        while True:
            places = await self._history.progress(self._log.id)
            if places.get(partition, NOWHERE).offset >= offset:
                break
            await asyncio.sleep(MATERIALIZED_S)
        message_id = event.deletion.message_id
        found = await self._history.these(ChatId(event.chat_id), [message_id])
        return Event.FromString(found.get(message_id, b""))

    async def sweep(self, partition: int, known_ms: int) -> None:
        """Delete what was noted two days before the time up to which the log was read."""
        while notes := await self._files.noted(partition, known_ms - KEPT_MS):
            await self._files.delete([each.key for each in notes])
            await self._files.settle(partition, notes)
            self._deleted.labels("unnamed").inc(len(notes))

    async def keep(self, partition: int, before_ms: int) -> None:
        """Keep what was noted before a time for good, since the log does not have all records from
        before that any more, and one of them may have named it.
        """
        count = 0
        while notes := await self._files.noted(partition, before_ms):
            await self._files.settle(partition, notes)
            count += len(notes)
        if count:
            log.error(
                "%s files of partition %s are kept, though maybe nobody needs them: the log has "
                "dropped what would say so",
                *(count, partition),
            )


class Following:
    """Follows one partition for a collector."""

    def __init__(self, of: Log, partition: int, collector: Collector) -> None:
        self._log = of
        self._backplane = of.backplane
        self._partition = partition
        self._collector = collector
        self._place = NOWHERE  # up to below where everything is done with
        self._committed = NOWHERE
        self._is_whole = False  # whether nothing that may have named a file was passed over

    async def run(self) -> None:
        """Follow until cancelled. Raises `Unavailable`, `Trimmed`."""
        first, self._is_whole = await self._start()
        position, fold = await self._fold(first - 1)
        self._place = self._committed = Place(0, first)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_committing())
                group.create_task(self._keep_sweeping())
                group.create_task(self._read(position, fold, first))
        finally:
            with suppress(Unavailable):
                await self._commit()

    async def _start(self) -> tuple[int, bool]:
        """Return from which offset to go on, and whether all before that was followed."""
        committed = await self._backplane.committed(FILES_GROUP, MESSAGES, self._partition)
        start, end = await self._backplane.bounds(MESSAGES, self._partition)
        if committed is None:
            return start, start == 0
        done = committed._replace(offset=committed.offset - 1)
        if not await still_holds(self._backplane, self._partition, done, (start, end)):
            return (await goes_on_at(self._backplane, self._partition, done))[0], False
        return max(committed.offset, start), committed.offset >= start

    async def _fold(self, position: int) -> tuple[int, Fold]:
        """Return from where to read on, and the fold there."""
        if fold := await known_fold_at(self._backplane, self._partition, position):
            return position, fold
        start, _ = await self._backplane.bounds(MESSAGES, self._partition)
        cut = await read_cut_log(self._backplane, self._partition, start)
        assert cut.fold, "it was read until that was known"
        return start - 1, cut.fold

    async def _read(self, position: int, fold: Fold, first: int) -> None:
        place = Place(fold.clock_ms, position)
        batches = records_after(self._backplane, self._partition, place, gather_s=1.0)
        async with aclosing(batches):
            async for batch in batches:
                await self._take(fold, batch, first)

    async def _take(self, fold: Fold, batch: Sequence[Record], first: int) -> None:
        for record in batch:
            decoded = decode_once(record)
            counts = fold.step(record.offset, decoded, record.appended_at_ms)
            if record.offset < first:
                continue
            if fold.gaps.found or not self._is_whole:
                await self._collector.keep(self._partition, record.appended_at_ms + APART_MS)
                self._is_whole = True
            if counts and isinstance(decoded, Origin):
                await self._event(record.offset, decoded.parsed)
            self._place = Place(fold.clock_ms, record.offset + 1)

    async def _event(self, offset: int, event: Event) -> None:
        match event.WhichOneof("body"):
            case "message":
                await self._collector.named(self._partition, event)
            case "deletion":
                await self._collector.deleted(self._partition, offset, event)

    async def _keep_sweeping(self) -> None:
        while True:
            if self._is_whole:
                await self._collector.sweep(self._partition, await self._known_ms())
            await asyncio.sleep(SWEEP_EVERY_S)

    async def _known_ms(self) -> int:
        """Return a time such that all that was appended before it was read."""
        at_ms = now_ms()
        _, end = await self._backplane.bounds(MESSAGES, self._partition)
        return at_ms if self._place.offset >= end else min(at_ms, self._place.clock_ms)

    async def _keep_committing(self) -> None:
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            await self._commit()

    async def _commit(self) -> None:
        """Commit how far this is. What comes again after a kill has the same result."""
        if self._place != self._committed:
            place = self._place
            await self._backplane.commit(FILES_GROUP, MESSAGES, {self._partition: place})
            self._committed = place
