"""The event loop's view of a stream: what is durable, and who waits at its end for more."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cecochat.adapters.embedded.records import BATCH_BYTES, BATCH_RECORDS, Extent, size_of
from cecochat.ports.backplane import Record

HANDOVER_RECORDS = 10_000
HANDOVER_BYTES = 4 << 20


class Reader:
    """Where one reader stands. Below `next` everything was given to it or lies in its hand-over."""

    def __init__(self, offset: int) -> None:
        self.next = offset
        self.woken = asyncio.Event()
        self._handed: list[Record] = []
        self._handed_bytes = 0

    def hand(self, records: Sequence[Record], size_bytes: int) -> None:
        """Take what was just committed; over its bound the reader falls behind, and selects."""
        if len(self._handed) < HANDOVER_RECORDS and self._handed_bytes < HANDOVER_BYTES:
            if records[0].offset < self.next:  # a select saw the commit before the loop heard of it
                records = [record for record in records if record.offset >= self.next]
                size_bytes = sum(map(size_of, records))
            if records:
                self._handed += records
                self._handed_bytes += size_bytes
                self.next = records[-1].offset + 1
                self.woken.set()

    def take(self) -> list[Record]:
        """The next batch from the hand-over; empty where there is none."""
        batch = self._handed[:BATCH_RECORDS]
        size = 0
        for count, record in enumerate(batch):
            size += size_of(record)
            if size > BATCH_BYTES and count:
                size -= size_of(record)
                del batch[count:]
                break
        del self._handed[: len(batch)]
        self._handed_bytes -= size
        return batch


class Stream:
    """A partition of a topic, as far as it is durable."""

    def __init__(self, extent: Extent) -> None:
        self.start, self.end, _ = extent
        self.released = 0
        self.readers: set[Reader] = set()

    def extend(self, records: Sequence[Record]) -> None:
        """These are committed: hand them to the readers that stand at the end."""
        if self.readers:
            size_bytes = sum(map(size_of, records))
            for reader in self.readers:
                if reader.next >= self.end:
                    reader.hand(records, size_bytes)
        self.end = records[-1].offset + 1
