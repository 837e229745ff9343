"""The backplane: the partitioned, ordered and durable event log, which also carries messages from
server to server.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.errors import Undecodable
from cecochat.domain.log.dead_letters import KEPT_DAYS
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import LogRecord

MESSAGES: Final = "messages"
DEAD_LETTERS: Final = "messages.dead"
FORWARD_GROUP: Final = "forward"
MATERIALIZE_GROUP: Final = "materialize"
"""The group of the materialize servers. Others ask for what it has committed."""
HOOKS_GROUP: Final = "hooks"
"""The group of the hook servers. Their progress is committed for each endpoint apart."""
FILES_GROUP: Final = "files"
"""The group of the materialize servers that delete files which no message names."""
Topic = Literal["messages", "messages.dead"]

LETTERS_KEPT_MS: Final = KEPT_DAYS * 24 * 3_600_000
"""How long dead letters are kept. They are dropped by age alone."""

Headers = tuple[tuple[str, str], ...]
"""Names and values, printable ASCII without a line break, in a fixed order."""


class NewRecord(NamedTuple):
    """A record to append, and the partition to append it to. `decoded` is what it says, if that is
    known, for adapters whose readers share the process.
    """

    partition: int
    key: bytes
    value: bytes
    headers: Headers
    decoded: LogRecord | None = None


@dataclass(slots=True)
class Record:
    """A record that was read. It is durable, and for ever the same for every reader."""

    offset: int
    appended_at_ms: int  # the log's own clock, ms since 1970
    key: bytes
    value: bytes
    headers: Headers
    decoded: LogRecord | Undecodable | None = field(default=None, compare=False, repr=False)
    """The record, decoded, once some reader of this process has called
    `ports.reading.decode_once`, or if this process has appended it.
    """


class Producer(ABC):
    """One producer session: a FIFO per partition that ends with its first failure.

    A session belongs to one owner. After a failure every later append fails with `ProducerEnded`,
    too, so that nothing of this session can land behind a hole. What was passed in before may have
    landed or not.
    """

    @abstractmethod
    async def append(self, records: Sequence[NewRecord]) -> None:
        """Append records in order. Returns when all of them are durable (in Kafka by acks=all, in
        SQLite by a commit with synchronous=FULL).

        The order of the calls is the order in the log, even if a call does not wait for those
        before it: the records are queued before the first suspension. An adapter may join several
        calls into one write.

        Raises `ProducerEnded`. Cancelling the call does not take the records back.
        """

    @abstractmethod
    async def close(self) -> None:
        """Wait for what is queued, then end the session. It may be called again."""


class Backplane(ABC):
    """Topics with a fixed number of partitions. The offsets of a partition are consecutive: where a
    reader is given a higher one than the next, records have vanished.
    """

    @abstractmethod
    async def log_id(self) -> str:
        """Return the id of this log, which never changes and is the same for all topics. A position
        in a log of another id means nothing here.
        """

    @abstractmethod
    async def partition_count(self) -> int:
        """Return how many partitions each topic has: 1 to 4,096, fixed when the log is created."""

    @abstractmethod
    async def producer(self, topic: Topic = MESSAGES) -> Producer:
        """Open a new producer session, which appends to one topic."""

    @abstractmethod
    def read(
        self, topic: Topic, partition: int, offset: int, *, gather_s: float = 0.0
    ) -> AsyncGenerator[Sequence[Record]]:
        """Yield batches of durable records from `offset` on, in order and without end: at the end
        of the log, wait for more.

        A batch is never empty. It has at most 1,000 records and 1 MiB, or a single larger record.
        `gather_s`: how long new records may wait for others, which can save work.
        Every reader gets the same records with the same offsets. Close the generator (`aclosing`)
        to stop; cancelling is safe at any time.

        Raises `Trimmed` if retention has dropped `offset`. Raises `Unavailable` if the log does not
        answer, or has lost what this reader was given.
        """

    @abstractmethod
    async def bounds(self, topic: Topic, partition: int) -> tuple[int, int]:
        """Return the lowest offset that is kept, and the lowest that the next record can get."""

    @abstractmethod
    async def committed(self, group: str, topic: Topic, partition: int) -> Place | None:
        """Return the place from which the group continues, one offset above the last that it has
        dealt with; None if it never committed.
        """

    @abstractmethod
    async def commit(self, group: str, topic: Topic, places: dict[int, Place]) -> None:
        """Store durably from where the group continues, by partition. Commits are not fenced: the
        last one to land wins. Raises `Unavailable`.
        """

    @abstractmethod
    async def share(
        self, topic: Topic, group: str, work: Callable[[int], Coroutine[Any, Any, None]]
    ) -> None:
        """Run `work(partition)` for each partition that the group gives this member, until
        cancelled.

        Only one member at a time works on a partition. When a partition is taken away, its `work`
        is cancelled. It can then finish and commit what it has begun, and no other member gets the
        partition before. If `work` raises, so does this.
        """

    @abstractmethod
    async def release(self, topic: Topic, partition: int, before: int) -> None:
        """Say that the protocol no longer needs the records below `before`. This cannot be taken
        back. `trim` drops them.
        """

    @abstractmethod
    async def trim(self) -> None:
        """Drop what is released and also older than the retention. What was not released stays,
        however old it is. Dead letters are dropped by age alone. What `build` opens calls this from
        time to time. Raises `Unavailable`.
        """

    @abstractmethod
    async def offset_at(self, topic: Topic, partition: int, at_ms: int) -> int:
        """Return the offset of the first record that was appended at `at_ms` or later, in ms since
        1970 by the log's own clock; the end if there is none. Raises `Unavailable`.
        """

    @abstractmethod
    async def close(self) -> None:
        """Close the log. Readers end with an error, and producers are closed. It may be called
        again.
        """


class Log(NamedTuple):
    """A log, and what never changes about it."""

    backplane: Backplane
    id: str
    partitions: int

    @classmethod
    async def of(cls, backplane: Backplane) -> Log:
        """Ask the log for its id and the number of its partitions."""
        return cls(backplane, await backplane.log_id(), await backplane.partition_count())

    def partition_of(self, user_id: UserId) -> int:
        """Return the partition of a user."""
        return partition_of(user_id, self.partitions)
