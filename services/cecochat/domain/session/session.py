"""One device's session on the messaging server: what is queued for it, how far it is told, whether
it still takes sends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from cecochat.domain.errors import Refusal, Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.domain.session import frames
from cecochat.v1 import errors_pb2

How = Literal["resumed", "live", "gap"]


class Began(NamedTuple):
    """Where a session starts, and why there: its client knew it, asked for nothing, or was told of
    a gap.
    """

    position: int
    how: How
    device: str  # the label that the client gave


class Session:
    """Knows nothing of its transport: chunks of server frames go in, joined frames come out of
    `take`.

    `wake` is called whenever there is something to take. The queue is bounded in bytes; one that
    runs over is emptied and the session closed as slow: the client has its position and resumes.
    """

    def __init__(
        self, id_: str, user_id: str, *, queue_max_bytes: int, wake: Callable[[], None]
    ) -> None:
        self.id = id_
        self.user_id = user_id
        self.position = -1  # the last offset that it was told about, or has said it knew
        self.blocked = (
            False  # a send was refused: none behind it may overtake the client's answer to that
        )
        self.began: Began | None = None  # not welcomed yet
        self.device_id = ""  # as its hello says; empty: it does not
        self.closed: Refusal | None = None
        self.queued_bytes = 0
        self._queue_max_bytes = queue_max_bytes
        self._queue: deque[bytes] = deque()
        self._wake = wake
        self._marks: deque[tuple[int, Callable[[bool], None]]] = deque()  # (bytes before it, tell)
        self._taken_bytes = 0

    def when_written(self, tell: Callable[[bool], None]) -> None:
        """Call `tell` with True when all that is queued now has been written, or with False when it
        never will be.
        """
        if self.closed:
            tell(False)
        else:
            self._marks.append((self._taken_bytes + self.queued_bytes, tell))

    def written(self) -> None:
        """All that was taken has been written."""
        while self._marks and self._marks[0][0] <= self._taken_bytes:
            self._marks.popleft()[1](True)

    def ended(self) -> None:
        """Nothing will be written any more."""
        while self._marks:
            self._marks.popleft()[1](False)

    def deliver(self, offset: int, chunk: frames.Chunk) -> None:
        """Queue what the record at `offset` says, unless the session is beyond it; the position
        moves there.
        """
        if offset > self.position:
            self.position = offset
            self.push(chunk)

    def push(self, chunk: frames.Chunk) -> None:
        """Queue a chunk, in order."""
        if self.closed:
            return
        self._queue.append(chunk)
        self.queued_bytes += len(chunk)
        if self.queued_bytes > self._queue_max_bytes:
            self._drop_queue()
            self.ended()
            self.close(
                Refusal(
                    errors_pb2.ERROR_CODE_SLOW,
                    f"over {self._queue_max_bytes} bytes waited to be read: read faster, resume",
                )
            )
        else:
            self._wake()

    @property
    def has_room(self) -> bool:
        """Whether more of what was missed may be queued: half of the queue is for what is live."""
        return self.queued_bytes <= self._queue_max_bytes // 2

    def _drop_queue(self) -> None:
        self._queue.clear()
        self.queued_bytes = 0

    def refuse(self, client_message_id: str, refusal: Refusal) -> None:
        """Answer a send that will never be accepted; later ones are not looked at until the client
        has reconnected.
        """
        self.push(frames.refused(client_message_id, refusal))
        self.blocked = True

    def close(self, refusal: Refusal, address: str = "") -> None:
        """End the session after what is queued, with the reason and, where known, the address to go
        to.
        """
        if not self.closed:
            self._queue.append(frames.disconnect(refusal, address))
            self.closed = refusal
            self._wake()

    def take(self, limit_bytes: int) -> bytes:
        """The next frame: queued chunks joined, up to about `limit_bytes`; empty when nothing is
        queued.
        """
        if self.queued_bytes <= limit_bytes:
            frame = b"".join(self._queue)
            self._drop_queue()
            self._taken_bytes += len(frame)
            return frame
        chunks: list[bytes] = []
        size = 0
        while self._queue and size < limit_bytes:
            chunks.append(self._queue.popleft())
            size += len(chunks[-1])
        self.queued_bytes -= size
        self._taken_bytes += size
        return b"".join(chunks)


def replace(session: Session, others: Iterable[Session]) -> None:
    """A device has one session: its hello on a new stream ends those that it had before."""
    for other in others:
        if other is not session and session.device_id and other.device_id == session.device_id:
            other.close(
                Refusal(errors_pb2.ERROR_CODE_REPLACED, "this device has opened a newer stream")
            )


class Replay:
    """Brings a session what it missed, from records of the log that are read for it alone.

    `fold` has to stand at or before the session's position; records are fed in order from there.
    """

    def __init__(self, session: Session, fold: Fold) -> None:
        self._session = session
        self._fold = fold

    def feed(self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int) -> None:
        """The next record."""
        counts = self._fold.step(offset, record, appended_at_ms)
        if counts and isinstance(record, Origin | Copy) and concerns(record, self._session.user_id):
            at = Place(self._fold.clock_ms, offset)
            self._session.deliver(offset, frames.delivered(at, record.event))
        self._session.position = max(self._session.position, offset)


def concerns(record: LogRecord, user_id: str) -> bool:
    """Whether a record is to be shown to that user's devices."""
    match record:
        case Origin():
            return record.user_id == user_id
        case Copy():
            return user_id in record.recipient_ids
    return False
