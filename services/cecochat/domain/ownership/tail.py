"""The latest records of a partition, which its owner keeps for sessions that resume."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from itertools import islice

from cecochat.domain.log.groups import Groups
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.session import frames
from cecochat.domain.session.session import Session
from cecochat.v1.events_pb2 import Event


class Valid:
    """A valid record that concerns some users: `user_ids`, or if it happened in a group, those who
    belonged to that. Its chunk is made when a session first needs it.
    """

    __slots__ = ("_chunk", "at", "event", "group_event", "user_ids")

    def __init__(
        self,
        at: Place,
        user_ids: tuple[UserId, ...],
        event: bytes,
        group_event: Event | None = None,
    ) -> None:
        self.at = at
        self.user_ids = user_ids
        self.event = event
        self.group_event = group_event
        self._chunk: frames.Chunk | None = None

    @property
    def chunk(self) -> frames.Chunk:
        """The bytes that are sent to the sessions, the same for all of them."""
        if self._chunk is None:
            self._chunk = frames.delivered(self.at, self.event)
        return self._chunk


class Tail:
    """The latest valid records, bounded in bytes. Most sessions that resume need no more."""

    def __init__(self, floor: Place, groups: Groups | None) -> None:
        self._groups = groups
        self.floor = floor  # everything valid above it is here
        self._records: deque[Valid] = deque()
        self._bytes = 0

    def add(self, valid: Valid, max_bytes: int) -> None:
        """Add the next valid record, and drop the oldest while there are over `max_bytes`."""
        self._records.append(valid)
        self._bytes += len(valid.event)
        while self._bytes > max_bytes:
            dropped = self._records.popleft()
            self._bytes -= len(dropped.event)
            self.floor = dropped.at
            if self._groups and dropped.group_event:
                self._groups.forget(dropped.group_event)

    def replay(self, session: Session) -> bool:
        """Queue what the session has not been told yet, as far as it has room. Returns whether that
        was all. The session's position must not lie below `floor`.
        """
        for valid in islice(self._records, self._number_up_to(session.position), None):
            if self._concerns(valid, session.user_id):
                if not session.has_room:
                    return False
                session.deliver(valid.at.offset, valid.chunk)
        return True

    def _concerns(self, valid: Valid, user_id: UserId) -> bool:
        if self._groups and valid.group_event:
            return self._groups.covers(valid.group_event, user_id)
        return user_id in valid.user_ids

    def clock_at(self, offset: int) -> int | None:
        """Return the log's clock, in ms since 1970, at the last valid record up to `offset`; None
        if it is not known here.
        """
        number = self._number_up_to(offset)
        if number:
            return self._records[number - 1].at.clock_ms
        is_known = self.floor.clock_ms and offset >= self.floor.offset
        return self.floor.clock_ms if is_known else None

    def _number_up_to(self, offset: int) -> int:
        return bisect_right(self._records, offset, key=lambda valid: valid.at.offset)
