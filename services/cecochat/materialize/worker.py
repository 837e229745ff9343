"""Turns the log into the history: one partition at a time, behind nothing but what is durable."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from cecochat.domain.errors import ProducerEnded, Trimmed, Unavailable, Undecodable
from cecochat.domain.fold import Fold
from cecochat.domain.place import NOWHERE, Place
from cecochat.domain.records import Origin
from cecochat.materialize.tracing import materializing
from cecochat.ports.backplane import DEAD_LETTERS, MESSAGES, Backplane, NewRecord, Producer, Record
from cecochat.ports.history import History, MarkRow, MessageRow, Progress
from cecochat.runtime.logs import ids_of
from cecochat.runtime.metrics import AGES_S, Lag, MessageAges
from cecochat.runtime.reading import decode_once, first_known, fold_at, following, still_holds
from cecochat.runtime.tracing import OFF, Tracer

log = logging.getLogger(__name__)

Result = TypeVar("Result")

GROUP = "materialize"
RETRY_S = (0.1, 0.2, 0.5, 1.0, 2.0)
COMMIT_EVERY_S = 1.0
LAG_EVERY_S = 5.0
FINISH_S = 2.0  # what a write that is under way gets when its partition goes to another member
COMMIT_AGAIN_S = 3_600.0  # what does not move, before the log forgets it


class MaterializeMetrics:
    """What a materialize server counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.ages = MessageAges(registry)
        self.rows = Counter("cecochat_rows_written", "Rows written.", ["table"], registry=registry)
        self.dead = Counter(
            "cecochat_dead_letters", "Records that could not be understood.", registry=registry
        )
        self.retries = Counter(
            "cecochat_history_retries", "Writes that the database did not take.", registry=registry
        )
        self.write_seconds = Histogram(
            "cecochat_history_write_seconds",
            "Time until the database has the rows of a batch, retries included.",
            buckets=AGES_S,
            registry=registry,
        )
        self.lag = Lag("materialize", "is behind", registry)
        self.lag_seconds = Gauge(
            "cecochat_materialize_lag_seconds",
            "Age of the oldest record that is being written.",
            registry=registry,
        )
        self.retention = Gauge(
            "cecochat_retention_seconds", "How long the log keeps records.", registry=registry
        )
        self.partitions = Gauge(
            "cecochat_partitions_materialized", "Partitions worked on.", registry=registry
        )


@dataclass(slots=True)
class Rows:
    """What a batch of records comes to."""

    messages: list[MessageRow] = field(default_factory=list)
    marks: list[MarkRow] = field(default_factory=list)
    dead: list[tuple[Record, str]] = field(default_factory=list)
    traced: list[tuple[int, Origin]] = field(default_factory=list)  # with their offsets
    clock_ms: int = 0  # of the log, behind the batch
    read_ns: int = field(default_factory=time.time_ns)

    def add(self, origin: Origin) -> None:
        """A valid origin."""
        event = origin.parsed
        if event.HasField("message"):
            self.messages.append(
                MessageRow(
                    event.id, event.chat_id, event.user_id, origin.recipient_ids, origin.event
                )
            )
        elif event.HasField("receipt"):
            receipt = event.receipt
            self.marks.append(
                MarkRow(event.chat_id, event.user_id, receipt.delivered_up_to, receipt.read_up_to)
            )


def rows_of(fold: Fold, records: Sequence[Record]) -> Rows:
    """Fold the records of a partition, in order, into rows."""
    rows = Rows()
    for record in records:
        known = decode_once(record)
        counts = fold.step(record.offset, known, record.appended_at_ms)
        if isinstance(known, Undecodable):
            rows.dead.append((record, str(known)))
        elif counts and isinstance(known, Origin):
            rows.add(known)
            if known.trace:
                rows.traced.append((record.offset, known))
    rows.clock_ms = fold.clock_ms
    return rows


class Materializer:
    """Works on the partitions that the consumer group gives it. A database that is down is waited
    for.
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
        self._dead: Producer | None = None
        self._reached: dict[int, int] = {}  # partition -> the offset to continue from
        self._committed: dict[int, int] = {}
        self._writing: dict[int, int] = {}  # partition -> ms when what it writes was appended
        self._metrics.lag_seconds.set_function(self._lag_s)
        self.not_ready: str | None = None  # why it makes no progress

    def log_keeps(self, retention_ms: int) -> None:
        """It must never be that far behind."""
        self._metrics.retention.set(retention_ms / 1_000)

    def _lag_s(self) -> float:
        now_s = time.time()
        return max((now_s - ms / 1_000 for ms in self._writing.values()), default=0.0)

    @property
    def partitions(self) -> list[int]:
        """Those that it works on now."""
        return list(self._reached)

    async def run(self) -> None:
        """Materialize until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._commit_now_and_then())
            group.create_task(self._tell_lag())
            group.create_task(self._backplane.share(MESSAGES, GROUP, self._work))

    async def _work(self, partition: int) -> None:
        self._metrics.partitions.inc()
        try:
            while True:
                try:
                    await self._follow(partition)
                except (Unavailable, ProducerEnded, Trimmed) as error:
                    self._dead = None
                    named = {"partition": partition}
                    log.warning(
                        "partition %s: the log cannot be read: %s", partition, error, extra=named
                    )
                    await asyncio.sleep(RETRY_S[-1])
        finally:
            self._metrics.partitions.dec()
            await self._commit(partition)
            for known in (self._reached, self._committed, self._writing):
                known.pop(partition, None)  # another member goes on from here

    async def _follow(self, partition: int) -> None:
        loop, gather_s = asyncio.get_running_loop(), self._history.gather_s
        place = await self._backplane.committed(GROUP, MESSAGES, partition)
        committed = place.offset if place else 0
        self._reached[partition] = committed  # it is behind from here on, also while it waits
        position = await self._position(partition, committed)
        self._reached[partition] = position + 1
        await self._commit(partition)  # retention must wait for a database that lost rows
        fold = await fold_at(self._backplane, partition, position)
        batches = following(self._backplane, partition, Place(fold.clock_ms, position))
        async with aclosing(batches):
            async for batch in batches:
                self._writing[partition] = batch[0].appended_at_ms
                await _to_its_end(self._write(partition, rows_of(fold, batch), batch[-1].offset))
                del self._writing[partition]
                # What comes meanwhile is one larger batch, and all partitions share a write.
                await asyncio.sleep(gather_s - loop.time() % gather_s)

    async def _position(self, partition: int, committed: int) -> int:
        """Up to where the history holds the log; a database that lost rows gets them again."""
        progress = await self._patiently(lambda: self._history.progress(self._log_id))
        reached = progress.get(partition, NOWHERE)
        held = min(committed - 1, reached.offset)
        known = await first_known(self._backplane, partition)
        if not await still_holds(self._backplane, partition, reached):
            log.error(
                "partition %s: this history has read it up to offset %s, of which the log has lost "
                "the end: all that is left is read again",
                partition,
                reached.offset,
                extra={"partition": partition},
            )
            held = known
        if held < known:
            log.warning(
                "partition %s: this history has read it up to offset %s, the log begins above %s",
                partition,
                held,
                known,
                extra={"partition": partition},
            )
        return max(held, known)

    async def _commit_now_and_then(self) -> None:
        loop = asyncio.get_running_loop()
        all_s = loop.time()
        while True:
            await asyncio.sleep(COMMIT_EVERY_S)
            if loop.time() - all_s > COMMIT_AGAIN_S:
                self._committed.clear()
                all_s = loop.time()
            await self._commit(*self._reached)

    async def _tell_lag(self) -> None:
        while True:
            await asyncio.sleep(LAG_EVERY_S)
            reached = dict(self._reached)
            with suppress(Unavailable):  # the lag known last stays
                bounds = [
                    await self._backplane.bounds(MESSAGES, partition) for partition in reached
                ]
                ends = (end for _, end in bounds)
                behind = {p: end - reached[p] for p, end in zip(reached, ends, strict=True)}
                self._metrics.lag.set(behind)

    async def _commit(self, *partitions: int) -> None:
        """Behind what is durable; one that fails is made up for by the next."""
        reached = {p: self._reached[p] for p in partitions if p in self._reached}
        moved = {p: at for p, at in reached.items() if self._committed.get(p) != at}
        try:
            if moved:
                places = {p: Place(0, at) for p, at in moved.items()}
                await self._backplane.commit(GROUP, MESSAGES, places)
                self._committed |= moved
        except Unavailable as error:
            log.warning("offsets are not committed: %s", error)

    async def _write(self, partition: int, rows: Rows, offset: int) -> None:
        if rows.dead:
            await self._bury(partition, rows.dead)
        progress = Progress(self._log_id, partition, offset, rows.clock_ms)
        spans_of = (rows.messages, rows.traced, rows.read_ns)
        with (
            self._metrics.write_seconds.time(),
            materializing(self._tracer, self._history.system, partition, *spans_of),
        ):
            await self._patiently(lambda: self._history.write(rows.messages, rows.marks, progress))
        self._reached[partition] = offset + 1
        if rows.messages:
            self._metrics.ages.observe("materialized", rows.messages[0].message_id)
        self._metrics.rows.labels("messages").inc(len(rows.messages))
        self._metrics.rows.labels("marks").inc(len(rows.marks))
        if log.isEnabledFor(logging.DEBUG):
            _tell(partition, rows)

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """Call the database until it answers: one that is down is waited for, never skipped."""
        try:
            for attempt in itertools.count():
                try:
                    return await call()
                except Unavailable as error:
                    self._metrics.retries.inc()
                    self.not_ready = f"waiting for the history database: {error}"
                    log.warning("%s", self.not_ready)
                    await asyncio.sleep(RETRY_S[min(attempt, len(RETRY_S) - 1)])
        finally:
            self.not_ready = None  # if others wait, they will say so again
        raise AssertionError("it was called until it answered")

    async def _bury(self, partition: int, dead: list[tuple[Record, str]]) -> None:
        """Put undecodable records, with their position and reason, where a person finds them; the
        partition goes on.
        """
        self._dead = self._dead or await self._backplane.producer(DEAD_LETTERS)
        await self._dead.append([_letter(partition, record, reason) for record, reason in dead])
        self._metrics.dead.inc(len(dead))


def _tell(partition: int, rows: Rows) -> None:
    traces = {origin.id: origin.trace for _, origin in rows.traced}
    for id_, *_ in rows.messages:
        known = {"message_id": str(id_), "partition": partition, **ids_of(traces.get(id_, ""))}
        log.debug("message %s is in the history", id_, extra=known)


async def _to_its_end(write: Coroutine[Any, Any, None]) -> None:
    """Also where this is cancelled meanwhile, if that does not take long."""
    task = asyncio.create_task(write)
    try:
        await asyncio.shield(task)
    finally:
        if not task.done():
            await asyncio.wait([task], timeout=FINISH_S)
            task.cancel()


def _letter(partition: int, record: Record, reason: str) -> NewRecord:
    printable = reason.encode("ascii", "backslashreplace").decode().replace("\n", " ")
    headers = (("position", f"{partition}:{record.offset}"), ("reason", printable[:500]))
    return NewRecord(partition, record.key, record.value, headers)
