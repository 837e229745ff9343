"""Turns the log into the history, one partition at a time, and commits only what is durable."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry

from cecochat.domain.errors import ProducerEnded, Trimmed, Unavailable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.internal.v1.internal_pb2 import Load
from cecochat.ports.backplane import MATERIALIZE_GROUP, MESSAGES, Backplane
from cecochat.ports.burying import Burial
from cecochat.ports.history import History, Hole, Progress, RowsRefused
from cecochat.ports.reading import (
    appended_at_ms,
    goes_on_at,
    known_fold_at,
    read_cut_log,
    records_after,
    still_holds,
)
from cecochat.runtime.clock import now_ms
from cecochat.servers.materialize.metrics import MaterializeMetrics
from cecochat.servers.materialize.rows import Rows, rows_of
from cecochat.servers.materialize.tracing import materializing
from cecochat.servers.materialize.trims import Loss, trimmed, unproven
from cecochat.telemetry.logs import ids_of
from cecochat.telemetry.tracing import OFF, Tracer

log = logging.getLogger(__name__)

Result = TypeVar("Result")

RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
COMMIT_EVERY_S = 1.0
LAG_EVERY_S = 5.0
READ_SHARE = 0.2  # of the time that rows wait for each other, records may wait to be read together
FINISH_S = 2.0  # how long a write may go on when its partition goes to another member
COMMIT_AGAIN_S = 3_600.0  # how often to commit again what has not moved, before the log forgets it


class Materializer:
    """Works on the partitions that the consumer group gives it. If the database is down, it
    waits.
    """

    def __init__(
        self,
        backplane: Backplane,
        history: History,
        log_id: str,
        registry: CollectorRegistry,
        tracer: Tracer = OFF,
    ) -> None:
        self._backplane = backplane
        self._history = history
        self._log_id = log_id
        self._tracer = tracer
        self._metrics = MaterializeMetrics(registry)
        self._burial = Burial(backplane)
        self._reached: dict[int, Place] = {}  # partition -> where to continue
        self._committed: dict[int, Place] = {}
        self._known_end: dict[
            int, Place
        ] = {}  # partition -> how far its log was known at the start
        self._writing: dict[int, int] = {}  # partition -> when what it writes was appended, in ms
        self._metrics.lag_seconds.set_function(self._lag_s)
        self.not_ready: str | None = None  # why it makes no progress

    def log_keeps(self, retention_ms: int) -> None:
        """Show people how old a record has to be before the log may drop it."""
        self._metrics.retention.set(retention_ms / 1_000)

    def _lag_s(self) -> float:
        now_s = time.time()
        return max((now_s - ms / 1_000 for ms in self._writing.values()), default=0.0)

    @property
    def load(self) -> Load:
        """What this server carries now."""
        return Load(materialize=self._metrics.load)

    @property
    def partitions(self) -> list[int]:
        """The partitions that it works on now."""
        return list(self._reached)

    async def run(self) -> None:
        """Materialize until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_committing())
            group.create_task(self._measure_lag())
            group.create_task(self._backplane.share(MESSAGES, MATERIALIZE_GROUP, self._work))

    async def _work(self, partition: int) -> None:
        self._metrics.partitions.inc()
        try:
            while True:
                try:
                    await self._follow(partition)
                except (Unavailable, ProducerEnded, Trimmed) as error:
                    self._burial.forget()
                    fields = {"partition": partition}
                    log.warning(
                        "partition %s cannot be read now: %s", partition, error, extra=fields
                    )
                    await asyncio.sleep(RETRY_S[-1])
        finally:
            self._metrics.partitions.dec()
            await self._commit(partition)
            for by_partition in (self._reached, self._committed, self._known_end, self._writing):
                by_partition.pop(partition, None)  # another member goes on from here

    async def _follow(self, partition: int) -> None:
        loop, gather_s = asyncio.get_running_loop(), self._history.gather_s
        place = await self._backplane.committed(MATERIALIZE_GROUP, MESSAGES, partition)
        self._reached[partition] = place = place or Place(0, 0)  # set while it waits, too
        held = await self._held(partition, place)
        self._reached[partition] = held._replace(offset=held.offset + 1)
        await self._commit(partition)  # retention has to wait if the database has lost rows
        position, fold = await self._fold(partition, held.offset)
        self._reached[partition] = Place(max(fold.clock_ms, held.clock_ms), position + 1)
        partitions = await self._backplane.partition_count()
        batches = records_after(
            self._backplane,
            partition,
            Place(fold.clock_ms, position),
            gather_s=gather_s * READ_SHARE,
        )
        async with aclosing(batches):
            async for batch in batches:
                self._writing[partition] = batch[0].appended_at_ms
                rows = rows_of(self._log_id, partition, partitions, fold, batch)
                await _finished(self._write(rows, batch[-1].offset))
                del self._writing[partition]
                # So the next batch is larger, and all partitions share a write.
                await asyncio.sleep(gather_s - loop.time() % gather_s)

    async def _held(self, partition: int, committed: Place) -> Place:
        """Return the place up to which the history has the log. If the database has lost rows, this
        goes back, so that they are written again.
        """
        done = committed._replace(offset=committed.offset - 1)
        progress = await self._patiently(lambda: self._history.progress(self._log_id))
        reached = progress.get(partition, NOWHERE)
        start, end = await self._backplane.bounds(MESSAGES, partition)
        held = min(done.offset, reached.offset)
        lost = [
            place
            for place in (reached, done)
            if not await still_holds(self._backplane, partition, place)
        ]
        if lost:
            await self._note_loss(partition, max(lost))
        else:
            self._known_end[partition] = max(reached, done)
        if reached in lost:
            log.error(
                "partition %s has lost the end of its log, which the history has up to offset %s: "
                "everything that is left is read again",
                partition,
                reached.offset,
                extra={"partition": partition},
            )
            held = -1
        elif reached.offset < start - 1:
            await self._note_trim(partition, reached, (start, end))
        return Place(reached.clock_ms, max(held, start - 1))

    async def _note_trim(self, partition: int, reached: Place, bounds: tuple[int, int]) -> None:
        """Note a hole, since the log has dropped records that are not in the history."""
        last_ids = await self._patiently(self._history.last_ids)
        start, end = bounds
        left = start < end
        at_ms = await appended_at_ms(self._backplane, partition, start) if left else now_ms()
        above = last_ids.get(partition, 0)
        hole = trimmed(self._log_id, partition, reached.offset, start, at_ms, above)
        progress = Progress(self._log_id, partition, start - 1, reached.clock_ms)
        await self._note(hole, progress)

    async def _note_loss(self, partition: int, known: Place) -> None:
        """Note a hole, once, since the log has lost an end that had reached the place `known`."""
        first, at_ms = await goes_on_at(self._backplane, partition, known)
        before_ms = max(now_ms(), known.clock_ms) if at_ms is None else at_ms
        loss = Loss(self._log_id, partition, known, first, before_ms)
        last_ids = await self._patiently(self._history.last_ids)
        holes = await self._patiently(self._history.holes)
        if not any(loss.is_told_by(each) for each in holes):
            await self._note(loss.hole(last_ids.get(partition, 0)), None)

    async def _lost_below(self, partition: int, place: Place) -> list[Place]:
        """Return the place up to which the log was known at the start, if the log has lost that end
        before it was read; `place` is how far it is read now. It is looked at once.
        """
        known_end = self._known_end.get(partition, place)
        if not place.lies_above(known_end):
            return []
        del self._known_end[partition]
        return [] if await still_holds(self._backplane, partition, known_end) else [known_end]

    async def _note(self, hole: Hole, progress: Progress | None) -> None:
        _say(hole)
        await self._patiently(lambda: self._history.write([], [], progress, [hole]))
        self._metrics.holes.labels(hole.reason).inc()

    async def _fold(self, partition: int, position: int) -> tuple[int, Fold]:
        """Return the position from which to read on, and the fold there. If that is not known,
        because the log was cut, it is the beginning of the log, once a later record says what
        counts.
        """
        if fold := await known_fold_at(self._backplane, partition, position):
            return position, fold
        start, _ = await self._backplane.bounds(MESSAGES, partition)
        log.warning(
            "the log of partition %s begins at offset %s, and reading waits for a state record or "
            "a takeover that says what counts",
            partition,
            start,
            extra={"partition": partition},
        )
        cut = await read_cut_log(self._backplane, partition, start)
        assert cut.fold, "it was read until that was known"
        if cut.unproven:
            await self._note(unproven(self._log_id, partition, cut.unproven), None)
        return start - 1, cut.fold

    async def _keep_committing(self) -> None:
        loop = asyncio.get_running_loop()
        all_s = loop.time()
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            if loop.time() - all_s > COMMIT_AGAIN_S:
                self._committed.clear()
                all_s = loop.time()
            await self._commit(*self._reached)

    async def _measure_lag(self) -> None:
        while True:
            await asyncio.sleep(LAG_EVERY_S)
            reached = dict(self._reached)
            with suppress(Unavailable):  # the last known lag stays
                bounds = await asyncio.gather(
                    *(self._backplane.bounds(MESSAGES, partition) for partition in reached)
                )
                ends = (end for _, end in bounds)
                behind = {p: end - reached[p].offset for p, end in zip(reached, ends, strict=True)}
                self._metrics.behind(behind)

    async def _commit(self, *partitions: int) -> None:
        """Commit up to where everything is durable. If this fails, the next commit makes up for
        it.
        """
        reached = {p: self._reached[p] for p in partitions if p in self._reached}
        moved = {p: place for p, place in reached.items() if self._committed.get(p) != place}
        try:
            if moved:
                await self._backplane.commit(MATERIALIZE_GROUP, MESSAGES, moved)
                self._committed |= moved
        except Unavailable as error:
            log.warning("the offsets cannot be committed now: %s", error)

    async def _write(self, rows: Rows, offset: int) -> None:
        partition = rows.partition
        if rows.letters:
            await self._burial.bury(rows.letters)
            self._metrics.dead.inc(len(rows.letters))
        # An owner of the first version keeps no clock, and then the last known clock stays true.
        clock_ms = max(rows.clock_ms, self._reached[partition].clock_ms)
        for lost in rows.lost + await self._lost_below(partition, Place(clock_ms, offset)):
            await self._note_loss(partition, lost)
        progress = Progress(self._log_id, partition, offset, clock_ms)
        with (
            self._metrics.write_seconds.time(),
            materializing(self._tracer, self._history.system, rows),
        ):
            await self._store(rows, progress)
        for hole in rows.holes:
            self._metrics.holes.labels(hole.reason).inc()
            if hole.reason in ("vanished", "unproven"):
                _say(hole)
        self._reached[partition] = Place(clock_ms, offset + 1)
        if rows.messages:
            self._metrics.ages.observe("materialized", rows.messages[0].message_id)
        self._metrics.wrote(rows)
        if log.isEnabledFor(logging.DEBUG):
            _log_messages(partition, rows)

    async def _store(self, rows: Rows, progress: Progress) -> None:
        """Store all rows but those that the database refuses, which must not stop the others."""
        written = False
        while not written:
            try:
                await self._patiently(
                    lambda: self._history.write(rows.messages, rows.marks, progress, rows.holes)
                )
                written = True
            except RowsRefused as refused:
                await self._bury_refused(rows, refused)

    async def _bury_refused(self, rows: Rows, refused: RowsRefused) -> None:
        letters = [rows.refuse(row, why) for row, why in refused.rows]
        await self._burial.bury(letters)
        self._metrics.refused.inc(len(letters))
        for each in letters:
            log.error(
                "the history database refuses the record at %s: %s",
                each.position,
                each.reason,
                extra={"partition": each.partition},
            )

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call the database until it answers. Nothing is skipped if it is down."""
        try:
            for attempt in itertools.count():
                try:
                    return await call()
                except Unavailable as error:
                    self._metrics.retry()
                    self.not_ready = f"waiting for the history database: {error}"
                    log.warning("%s", self.not_ready)
                    await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        finally:
            self.not_ready = None  # partitions that still wait set it again
        raise AssertionError("it was called until it answered")


def _log_messages(partition: int, rows: Rows) -> None:
    traces = {origin.id: origin.trace for _, origin in rows.traced}
    for id_, *_ in rows.messages:
        fields = {"message_id": str(id_), "partition": partition, **ids_of(traces.get(id_, ""))}
        log.debug("message %s is in the history", id_, extra=fields)


def _say(hole: Hole) -> None:
    log.error(
        "messages of partition %s with ids from %s to %s may be missing in the history: %s",
        *(hole.partition, hole.first_id, hole.last_id, hole.text),
        extra={"partition": hole.partition},
    )


async def _finished(write: Coroutine[Any, Any, None]) -> None:
    """Wait for a write, even if this is cancelled meanwhile, but then for at most FINISH_S."""
    task = asyncio.create_task(write)
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task], timeout=FINISH_S)
            task.cancel()
