"""A partition of the log, and the producer sessions that append to it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from cecochat.domain.fold import Fold
from cecochat.domain.records import LogRecord, State, decode, encode

if TYPE_CHECKING:
    from tests.sim.server import Server

LOG_ID = "log"


GARBAGE = object()
"""A record that cannot be decoded: no reader makes anything of it."""


class Log:
    """One partition. Records stay for ever, for the oracle; readers may not go below `start`."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.appended_at_ms: list[int] = []  # by the clock of the server that appended
        self.start = 0
        self.states: list[tuple[int, State]] = []

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return len(self.records)

    def append(self, record: LogRecord, now_ms: int) -> int:
        """Store a record the way it is stored, as bytes; returns its offset."""
        offset = len(self.records)
        record = decode(*encode(record))
        if isinstance(record, State):
            self.states.append((offset, record))
        self.records.append(record)
        self.appended_at_ms.append(now_ms)
        return offset

    def append_garbage(self, now_ms: int) -> int:
        """Store what no reader understands; returns its offset."""
        self.records.append(cast("LogRecord", GARBAGE))
        self.appended_at_ms.append(now_ms)
        return len(self.records) - 1

    def fold_at(self, position: int, place: Callable[[str], int] | None = None) -> Fold:
        """What a reader knows after `position`, from the last state record at or before it."""
        fold, cursor = Fold(place), 0
        kept = [
            (offset, state)
            for offset, state in self.states
            if offset >= self.start and self.start - 1 <= state.as_of <= position
        ]
        if kept:
            before = [each for each in kept if each[0] <= position]
            state = before[-1][1] if before else kept[0][1]
            fold, cursor = Fold.restored(state, place), state.as_of + 1
        assert cursor >= self.start, f"no state is known at {position}: kept from {self.start}"
        for offset in range(cursor, position + 1):
            if self.records[offset] is GARBAGE:
                fold.skip(offset)
            else:
                fold.step(offset, self.records[offset])
        return fold

    def first_known(self) -> int:
        """The lowest position whose state can be had from what retention left."""
        if self.start == 0:
            return -1
        return min(
            state.as_of
            for offset, state in self.states
            if offset >= self.start and state.as_of >= self.start - 1
        )


class Request:
    """A record on its way into a partition."""

    __slots__ = ("appended_at_ms", "record")

    def __init__(self, record: LogRecord, appended_at_ms: int) -> None:
        self.record = record
        self.appended_at_ms = appended_at_ms


class Producer:
    """One producer session: per target partition a FIFO of requests and one of answers, which are
    (record, offset).
    """

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server: Server | None = server  # None: dead or abandoned; what it sent may land yet
        self.requests: dict[int, deque[Request]] = {}
        self.answers: dict[int, deque[tuple[LogRecord, int]]] = {}
