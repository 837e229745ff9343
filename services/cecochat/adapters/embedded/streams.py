"""A stream as the event loop sees it: what is durable, and which readers wait at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cecochat.adapters.embedded.records import BATCH_BYTES, BATCH_RECORDS, Extent, size_of
from cecochat.ports.backplane import Record

HANDOVER_RECORDS = 10_000
HANDOVER_BYTES = 4 << 20


class Reader:
    """One reader of a stream. It was given everything below `next`, or has it in its hand-over."""

    def __init__(self, offset: int) -> None:
        self.next = offset
        self.woken = asyncio.Event()
        self._handed: list[Record] = []
        self._handed_bytes = 0

    def hand(self, records: Sequence[Record], size_bytes: int) -> None:
        """Take records that were just committed. A reader whose hand-over is full takes none: it is
        behind, and has to select them from the database.
        """
        if len(self._handed) < HANDOVER_RECORDS and self._handed_bytes < HANDOVER_BYTES:
            if records[0].offset < self.next:  # a select has read some of them already
                records = [record for record in records if record.offset >= self.next]
                size_bytes = sum(map(size_of, records))
            if records:
                self._handed += records
                self._handed_bytes += size_bytes
                self.next = records[-1].offset + 1
                self.woken.set()

    def take(self) -> list[Record]:
        """Take the next batch from the hand-over. It is empty if there is none."""
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
    """A partition of a topic, up to where it is durable."""

    def __init__(self, extent: Extent) -> None:
        self.start, self.end, _ = extent
        self.released = 0
        self.readers: set[Reader] = set()

    def extend(self, records: Sequence[Record]) -> None:
        """Take in records that are committed, and hand them to the readers at the end."""
        if self.readers:
            size_bytes = sum(map(size_of, records))
            for reader in self.readers:
                if reader.next >= self.end:
                    reader.hand(records, size_bytes)
        self.end = records[-1].offset + 1
