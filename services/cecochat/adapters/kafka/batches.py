"""Record batches, the unit that Kafka stores and sends: written by a session, read by anybody."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from aiokafka.errors import CorruptRecordException, KafkaError  # type: ignore[import-untyped]
from aiokafka.record.default_records import DefaultRecordBatchBuilder  # type: ignore[import-untyped]
from aiokafka.record.memory_records import MemoryRecords  # type: ignore[import-untyped]

from cecochat.ports.backplane import NewRecord, Record

BATCH_BYTES: Final = 1 << 20
BATCH_RECORDS: Final = 1_000
SEQUENCE_MASK: Final = 0x7FFFFFFF
_FORMAT: Final = 2
_OVERHEAD: Final = 100  # of a batch with one record, about; aiokafka's estimate covers the record


class ProducerId(NamedTuple):
    """Given by the brokers; batches of one are numbered in each partition, so that one that is
    sent again lands once.
    """

    id: int
    epoch: int


def size_of(record: NewRecord) -> int:
    """Bytes of a batch that holds this record alone, at most."""
    estimate: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(
        record.key, record.value, _encoded(record)
    )
    return estimate + _OVERHEAD


def build(records: Iterable[NewRecord], producer: ProducerId, sequence: int) -> tuple[bytes, int]:
    """A batch of the first records, as many as fit, and how many these are; at least one."""
    builder = DefaultRecordBatchBuilder(_FORMAT, 0, 0, *producer, sequence, BATCH_BYTES)
    now_ms = int(time.time() * 1_000)
    count = 0
    for record in records:
        if builder.append(count, now_ms, record.key, record.value, _encoded(record)) is None:
            break
        count += 1
    return bytes(builder.build()), count


def _encoded(record: NewRecord) -> list[tuple[str, bytes]]:
    return [(name, value.encode()) for name, value in record.headers]


class Fetched:
    """What a broker sent of one partition: whole batches, decoded as they are asked for."""

    def __init__(self, data: bytes | None, offset: int) -> None:
        self.next = offset  # to be fetched from, after the records that were had
        self._records = self._decode(data or b"")
        self._held: list[Record] = []  # at most one, which did not fit

    def take(self) -> list[Record]:
        """At most 1,000 records or 1 MiB, or one record over that; empty where all were had.

        Raises `CorruptRecordException`.
        """
        batch: list[Record] = []
        size = 0
        for record in chain(self._held, self._records):
            size += len(record.key) + len(record.value)
            if batch and size > BATCH_BYTES:
                self._held = [record]
                return batch
            self._held = []
            batch.append(record)
            self.next = record.offset + 1
            if len(batch) == BATCH_RECORDS:
                break
        return batch

    def first(self) -> Record | None:
        """The first of all, apart. Raises `CorruptRecordException`."""
        record = next(self._records, None)
        if record:
            self.next = record.offset + 1
        return record

    @property
    def has_more(self) -> bool:
        """Whether there is a record that was not had yet. Raises `CorruptRecordException`."""
        if not self._held:
            self._held = list(islice(self._records, 1))
        return bool(self._held)

    def _decode(self, data: bytes) -> Iterator[Record]:
        low, batches = self.next, MemoryRecords(data)
        while batches.has_next():
            batch = batches.next_batch()
            if not batch.validate_crc():
                raise CorruptRecordException(f"the checksum at offset {batch.base_offset} is wrong")
            if not batch.is_control_batch:
                yield from _records(batch, low)
            self.next = max(self.next, batch.next_offset)  # what was compacted away is behind


def _records(batch: Any, low: int) -> Iterator[Record]:
    """Those from `low` on, as a batch comes whole. What nobody can read, such as what a foreign
    program has compressed in a way that is not known here, is records that say so: the log has no
    hole there, and its reader goes on.
    """
    following = batch.base_offset
    try:
        for record in batch:
            following = record.offset + 1
            if record.offset >= low:
                yield _record(record)
    except (ValueError, KafkaError) as error:
        unreadable = (("unreadable", ascii(str(error))[:200]),)
        for offset in range(max(following, low), batch.next_offset):
            yield Record(offset, batch.max_timestamp, b"", b"", unreadable)


def _record(found: Any) -> Record:
    headers = tuple(
        (name, (value or b"").decode(errors="backslashreplace")) for name, value in found.headers
    )
    return Record(found.offset, found.timestamp, found.key or b"", found.value or b"", headers)
