"""Record batches, the unit that Kafka stores and sends: how to build them and how to read them."""

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
_OVERHEAD: Final = 100  # about that of a batch with one record; aiokafka estimates the record


class ProducerId(NamedTuple):
    """An id that the brokers give. Its batches are numbered in each partition, so that a batch that
    is sent twice lands once (KIP-98).
    """

    id: int
    epoch: int


def size_of(record: NewRecord) -> int:
    """Return the most bytes that a batch with this record alone can have."""
    estimate: int = DefaultRecordBatchBuilder.estimate_size_in_bytes(
        record.key, record.value, _encoded(record)
    )
    return estimate + _OVERHEAD


def build(records: Iterable[NewRecord], producer: ProducerId, sequence: int) -> tuple[bytes, int]:
    """Return a batch of the first records, as many as fit but at least one, and their number."""
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
    """What a broker sent of one partition: whole batches, which are decoded when they are asked
    for.
    """

    def __init__(self, data: bytes | None, offset: int) -> None:
        self.next = offset  # from where to fetch after the records that were taken
        self._records = self._decode(data or b"")
        self._held: list[Record] = []  # at most one, which did not fit

    def take(self) -> list[Record]:
        """Take at most 1,000 records and 1 MiB, or a single larger record. It is empty if all were
        taken. Raises `CorruptRecordException`.
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
        """Take the first record alone; None if there is none. Raises `CorruptRecordException`."""
        record = next(self._records, None)
        if record:
            self.next = record.offset + 1
        return record

    @property
    def has_more(self) -> bool:
        """Whether there is a record that was not taken yet. Raises `CorruptRecordException`."""
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
            self.next = max(self.next, batch.next_offset)  # the last offsets may be compacted away


def _records(batch: Any, low: int) -> Iterator[Record]:
    """The records of a batch from offset `low` on, since a batch always comes whole.

    Some records cannot be read, for example if a foreign program has compressed them in a way that
    is not known here. They become records that say so, so that the log has no hole there and the
    reader can go on.
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
