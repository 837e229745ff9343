"""One device's session on the messaging server: what is queued for it, up to where it has been told
everything, and whether it still takes sends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

from cecochat.domain.errors import Refusal, Undecodable
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.domain.session import frames
from cecochat.v1 import errors_pb2

How = Literal["resumed", "live", "gap"]


class Began(NamedTuple):
    """Where and how a session starts: its client resumed there, started live, or was told of a
    gap.
    """

    position: int
    how: How
    device: str  # the label that the client gave


class Session:
    """A session, without its transport: chunks of server frames go in, and `take` returns them
    joined.

    `wake` is called whenever there is something to take. The queue is bounded in bytes. If it runs
    over, it is emptied and the session is closed as slow: the client knows its position and
    resumes.
    """

    def __init__(
        self, id_: str, user_id: UserId, *, queue_max_bytes: int, wake: Callable[[], None]
    ) -> None:
        self.id = id_
        self.user_id = user_id
        self.position = -1  # the client has been told everything up to this offset
        self.blocked: Refusal | None = None  # why a send was refused: none after it is taken
        self.began: Began | None = None  # None: not welcomed yet
        self.device_id = ""  # as the client's hello says; empty: it gave none
        self.invisible = False  # it hides its user's presence
        self.closed: Refusal | None = None
        self.queued_bytes = 0
        self._queue_max_bytes = queue_max_bytes
        # Lists, since an empty deque takes ten times the memory, and most sessions are idle.
        self._queue: list[frames.Chunk] = []
        self._wake = wake
        self._callbacks: list[tuple[int, Callable[[bool], None]]] = []  # (bytes before, it)
        self._taken_bytes = 0

    def when_written(self, callback: Callable[[bool], None]) -> None:
        """Call `callback` with True when all that is queued now has been written, or with False if
        that will never happen.
        """
        if self.closed:
            callback(False)
        else:
            self._callbacks.append((self._taken_bytes + self.queued_bytes, callback))

    def written(self) -> None:
        """Note that all that was taken has been written."""
        while self._callbacks and self._callbacks[0][0] <= self._taken_bytes:
            self._callbacks.pop(0)[1](True)

    def ended(self) -> None:
        """Note that nothing will be written any more."""
        while self._callbacks:
            self._callbacks.pop(0)[1](False)

    def abandon(self) -> None:
        """Note that its connection is gone: who is woken would be held in a cycle."""
        self.ended()
        self._wake = _nobody

    def deliver(self, offset: int, chunk: frames.Chunk) -> None:
        """Queue the chunk of the record at `offset` and move the position there, unless the session
        is there already.
        """
        if offset > self.position:
            self.position = offset
            self.push(chunk)

    def push(self, chunk: frames.Chunk) -> None:
        """Queue a chunk. If the queue runs over, close the session as slow."""
        if self.closed:
            return
        self._queue.append(chunk)
        self.queued_bytes += len(chunk)
        if self.queued_bytes > self._queue_max_bytes:
            self.cut(
                Refusal(
                    errors_pb2.ERROR_CODE_SLOW,
                    f"over {self._queue_max_bytes} bytes were waiting for this client: resume, and "
                    "read faster",
                )
            )
        else:
            self._wake()

    def cut(self, refusal: Refusal) -> None:
        """End the session with nothing but the reason: what is queued was not written."""
        self._drop_queue()
        self.ended()
        self.close(refusal)

    @property
    def has_room(self) -> bool:
        """Whether more of what was missed may be queued. Half of the queue is kept for what is
        live.
        """
        return self.queued_bytes <= self._queue_max_bytes // 2

    def _drop_queue(self) -> None:
        self._queue.clear()
        self.queued_bytes = 0

    def refuse(self, client_message_id: str, refusal: Refusal) -> None:
        """Refuse a send for good. Later sends are ignored until the client has reconnected, so that
        none of them overtakes what the client makes of the refusal.
        """
        self.push(frames.refused(client_message_id, refusal))
        self.blocked = refusal.detached()

    def close(self, refusal: Refusal, address: str = "", websocket: str = "") -> None:
        """End the session after what is queued, with the reason and, if known, where to go over
        gRPC and over WebSocket.
        """
        if not self.closed:
            self._queue.append(frames.disconnect(refusal, address, websocket))
            self.closed = refusal.detached()
            self._wake()

    def take(self, limit_bytes: int) -> list[frames.Chunk]:
        """Take the chunks of the next frame, of about `limit_bytes` together at most; none if
        nothing is queued.
        """
        if self.queued_bytes <= limit_bytes:
            chunks, self._queue = self._queue, []
            self._taken_bytes += self.queued_bytes
            self.queued_bytes = 0
            return chunks
        size = count = 0
        while count < len(self._queue) and size < limit_bytes:
            size += len(self._queue[count])
            count += 1
        chunks = self._queue[:count]
        del self._queue[:count]
        self.queued_bytes -= size
        self._taken_bytes += size
        return chunks


def _nobody() -> None:
    """Nobody waits for what is queued."""


def replace(session: Session, others: Iterable[Session]) -> None:
    """Close the other sessions of this session's device: a device has one session at a time."""
    for other in others:
        if other is not session and session.device_id and other.device_id == session.device_id:
            other.close(
                Refusal(errors_pb2.ERROR_CODE_REPLACED, "this device has opened a newer stream")
            )


class Replay:
    """Delivers to a session what it missed, from records that are read from the log for it alone.

    `fold` has to stand at the session's position or before it, and to know groups. Records are fed
    in order from there.
    """

    def __init__(self, session: Session, fold: Fold) -> None:
        self._session = session
        self._fold = fold

    def feed(self, offset: int, record: LogRecord | Undecodable, appended_at_ms: int) -> bool:
        """Take in the next record. Returns False if the session has to end, so that its client is
        told of a gap when it comes back: the log does not show everything up to here.
        """
        counts = self._fold.step(offset, record, appended_at_ms)
        if self._fold.gaps.hides or self._lacks_members(record):
            return False
        if counts and isinstance(record, Origin | Copy) and self._concerns(record):
            at = Place(self._fold.clock_ms, offset)
            self._session.deliver(offset, frames.delivered(at, record.event))
        self._session.position = max(self._session.position, offset)
        return True

    def _lacks_members(self, record: LogRecord | Undecodable) -> bool:
        """Return whether nobody knows for whom the record is."""
        groups = self._fold.groups
        event = record.group_event if isinstance(record, Origin | Copy) else None
        return bool(groups and event and ChatId(event.chat_id) in groups.wrong)

    def _concerns(self, record: Origin | Copy) -> bool:
        user_id, groups = self._session.user_id, self._fold.groups
        if event := record.group_event:
            return groups is not None and groups.covers(event, user_id)
        return concerns(record, user_id)


def concerns(record: LogRecord, user_id: UserId) -> bool:
    """Return whether a record of a dialog in the user's own partition is to be shown to the user's
    devices.
    """
    match record:
        case Origin():
            at_home = record.serves_home and user_id in record.recipient_ids
            return record.user_id == user_id or at_home
        case Copy():
            return user_id in record.recipient_ids
    return False
