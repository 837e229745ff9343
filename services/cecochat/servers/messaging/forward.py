"""The asyncio shell of a forwarder: it appends copies, one batch at a time per target, and reads
again what a lane has forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import aclosing

from cecochat.domain.errors import Trimmed, Unavailable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copy, Origin, encode
from cecochat.domain.ownership.forwarder import Lost
from cecochat.domain.ownership.owner import Owner
from cecochat.ports.backplane import NewRecord, Producer
from cecochat.ports.reading import between, fold_at, lowest_fold
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.tracing import MessageTraces

log = logging.getLogger(__name__)

RETRY_S = 1.0
AT_ONCE = 1_000  # copies in a batch
FORWARD_EVERY = 100  # offsets: how often copies leave while records are read again


class Forwarding:
    """Appends the copies of one owner. Call `forward` and `recall` only if the owner is ready.
    `moved` is called whenever copies were appended.
    """

    def __init__(
        self,
        host: Host,
        owner: Owner,
        producer: Producer,
        group: asyncio.TaskGroup,
        traces: MessageTraces,
        moved: Callable[[], None],
    ) -> None:
        self._log = host.log
        self._metrics = host.metrics
        self._owner = owner
        self._producer = producer
        self._group = group
        self._traces = traces
        self._moved = moved
        self._work = asyncio.Event()  # there may be something to read again
        self._appends: set[asyncio.Task[None]] = set()

    def forward(self) -> None:
        """Append the next batch for each target that has none under way."""
        for target, copies in self._owner.forwarder.take(AT_ONCE):
            append = self._group.create_task(self._append(target, copies))
            self._appends.add(append)
            append.add_done_callback(self._appends.discard)
        if self._owner.forwarder.is_behind:
            self._work.set()

    async def _append(self, target: int, copies: list[Copy]) -> None:
        begun_s = time.monotonic()
        with self._traces.forwarding(target, copies):
            await self._producer.append(
                [NewRecord(target, *encode(copy), decoded=copy) for copy in copies]
            )
        self._metrics.append_seconds.labels("copies").observe(time.monotonic() - begun_s)
        self._metrics.ages.observe("forwarded", copies[0].id)
        self._metrics.appended.inc(len(copies))
        self._owner.forwarder.acknowledged(target, len(copies))
        self._moved()
        self.forward()

    async def recall(self) -> None:
        """Read again what lanes have forgotten whenever they have room, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            while (start := self._owner.forwarder.begin_recall()) is not None:
                self._metrics.recalls.inc()
                try:
                    await self._read_again(start)
                except (Unavailable, Trimmed) as error:
                    log.warning("messages to be copied cannot be read again now: %s", error)
                    await asyncio.sleep(RETRY_S)
                self.forward()

    async def _read_again(self, start: int) -> None:
        forwarder, partition, end = self._owner.forwarder, self._owner.partition, self._owner.cursor
        first, fold = await self._readable(start)
        start = forwarder.recalls_from or first  # the fold may begin before what lanes need
        async with aclosing(between(self._log.backplane, partition, first, end)) as records:
            async for offset, record, appended_at_ms in records:
                if fold.step(offset, record, appended_at_ms) and isinstance(record, Origin):
                    forwarder.recall(Place(fold.clock_ms, offset), record, fold.chain.links)
                if offset + 1 >= start and not forwarder.recalls(offset + 1):
                    return
                if offset % FORWARD_EVERY == 0:
                    self.forward()
        forwarder.recalled(end - 1)

    async def _readable(self, start: int) -> tuple[int, Fold]:
        """Return the offset from which to read again, and the fold just before it. What the log has
        dropped meanwhile is left out.
        """
        backplane, partition = self._log.backplane, self._owner.partition
        try:
            return start, await fold_at(backplane, partition, start - 1, self._log.partition_of)
        except Trimmed:
            end = self._owner.cursor
            lowest = await lowest_fold(backplane, partition, end, self._log.partition_of)
            for lost in self._owner.forwarder.leave_out(lowest.begins - 1, lowest.last):
                self._report(lost)
            return lowest.position + 1, lowest.fold

    def _report(self, lost: Lost) -> None:
        self._metrics.lost.inc()
        log.error(
            "messages of partition %s between the offsets %s and %s never reach the devices of "
            "partition %s: they could not be read there, and the log has dropped them here",
            self._owner.partition,
            *(lost.start, lost.end, lost.target),
            extra={"partition": self._owner.partition},
        )

    def stop(self) -> None:
        """Stop waiting for appends. What was given to the producer may still land."""
        for append in self._appends:
            append.cancel()
