"""The PUB/SUB backplane that is also the event log: partitioned, ordered, durable."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Undecodable
from cecochat.domain.log.letters import KEPT_DAYS
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import LogRecord

MESSAGES: Final = "messages"
DEAD_LETTERS: Final = "messages.dead"
FORWARD_GROUP: Final = "forward"
MATERIALIZE_GROUP: Final = "materialize"
"""Whose commits others ask for, too."""
Topic = Literal["messages", "messages.dead"]

LETTERS_KEPT_MS: Final = KEPT_DAYS * 24 * 3_600_000
"""What is in `messages.dead` goes by age alone."""

Headers = tuple[tuple[str, str], ...]
"""Names and values, printable ASCII without a line break, in a fixed order."""


class NewRecord(NamedTuple):
    """What a producer appends to a partition."""

    partition: int
    key: bytes
    value: bytes
    headers: Headers


@dataclass(slots=True)
class Record:
    """What a reader gets: durable, and the same for every reader for ever."""

    offset: int
    appended_at_ms: int  # the log's own clock, ms since 1970
    key: bytes
    value: bytes
    headers: Headers
    decoded: LogRecord | Undecodable | None = field(default=None, compare=False, repr=False)
    """What it says, once `ports.reading.decode_once` was asked: for all readers of a process."""


class Producer(ABC):
    """One producer session: a FIFO per partition that ends with its first failure.

    Not shared between owners. After a failure every later append of the session fails with
    `ProducerEnded` too, so nothing of this session can land behind a hole; what was given before
    may have landed or not.
    """

    @abstractmethod
    async def append(self, records: Sequence[NewRecord]) -> None:
        """Append in order; returns when every record is durable (Kafka: acks=all; SQLite:
        synchronous=FULL commit).

        The order of calls is the order in the log, also for calls made without waiting for those
        before: the records are queued before the first suspension. An adapter may join several
        calls into one write.

        Raises `ProducerEnded`. Cancelling the wait does not take the records back.
        """

    @abstractmethod
    async def close(self) -> None:
        """Wait for what is queued, then end the session. Idempotent."""


class Backplane(ABC):
    """Topics of a fixed number of partitions. Offsets of a partition increase; on some adapters
    they have holes.
    """

    @abstractmethod
    async def log_id(self) -> str:
        """Names this very log: a position of another log id means nothing here. Same for all
        topics, for ever.
        """

    @abstractmethod
    async def partition_count(self) -> int:
        """How many partitions `messages` has; fixed when the log is created, 1 to 4,096."""

    @abstractmethod
    async def producer(self, topic: Topic = MESSAGES) -> Producer:
        """Open a new producer session, which appends to one topic."""

    @abstractmethod
    def read(self, topic: Topic, partition: int, offset: int) -> AsyncGenerator[Sequence[Record]]:
        """Batches of durable records from `offset` on, in order, without end: waits at the end of
        the log for more.

        A batch is never empty and is bounded (1,000 records, 1 MiB, or one record over that). Every
        reader is shown the same records with the same offsets. Where `offset` lies below what
        retention left, raises `Trimmed`; where the log does not answer, or has lost what it had
        shown this reader, `Unavailable`. Close the generator (`aclosing`) to stop; cancellation is
        safe at any time.
        """

    @abstractmethod
    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """(start, end): the lowest offset that is kept, and the offset that the next record will
        get at least.
        """

    @abstractmethod
    async def committed(self, group: str, topic: Topic, partition: int) -> Place | None:
        """Where the group continues: its offset is one above the last that it has dealt with; None:
        it never committed.
        """

    @abstractmethod
    async def commit(self, group: str, topic: Topic, places: dict[int, Place]) -> None:
        """Store partition -> where to continue, durably. Not fenced: the last one to land wins.
        Raises `Unavailable`.
        """

    @abstractmethod
    async def share(
        self, topic: Topic, group: str, work: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        """Run `work(partition)` for each partition that the group gives this member, until
        cancelled.

        A partition is worked on by one member at a time. When one is taken away, its `work` is
        cancelled and waited for (so it can finish and commit what is in flight) before anybody else
        gets it. If `work` raises, so does this.
        """

    @abstractmethod
    async def release(self, topic: Topic, partition: int, before: int) -> None:
        """Say that the protocol needs no record below `before` any more. What was released stays
        released; `trim` drops it.
        """

    @abstractmethod
    async def trim(self) -> None:
        """Drop what is released and older than the retention, and nothing else: what nobody has
        released stays, however old it is. Dead letters go by age alone. `build` calls it now and
        then. Raises `Unavailable`.
        """

    @abstractmethod
    async def offset_at(self, topic: Topic, partition: int, at_ms: int) -> int:
        """The offset of the first record that was appended at `at_ms` or later, by the log's own
        clock; where there is none, that of the end. Raises `Unavailable`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Release everything. Readers end with an error, producers are closed. Idempotent."""


class Log(NamedTuple):
    """A log, and what never changes about it."""

    backplane: Backplane
    id: str
    partitions: int

    @classmethod
    async def of(cls, backplane: Backplane) -> Log:
        """Ask it."""
        return cls(backplane, await backplane.log_id(), await backplane.partition_count())

    def place(self, user_id: str) -> int:
        """The partition of a user."""
        return partition_of(user_id, self.partitions)
