"""Which state records of a log can be relied on."""

from __future__ import annotations

from bisect import bisect_right

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import LogRecord, State, Takeover


class Told:
    """Takes the records of a log from `start` on, and finds the state records that tell of what
    stands before them there. One of a session that had read an end which the log has lost is not
    among them. Nor is one that tells of what is before the takeover of an owner that began afresh,
    and landed behind it: what counts is what that owner knows, which is less.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._offsets: list[int] = []
        self._appended_at_ms: list[int] = []
        self._afresh = -1

    def take(
        self, offset: int, record: LogRecord | Undecodable | None, appended_at_ms: int
    ) -> State | None:
        """The next record; None: neither a state record nor a takeover. Returns what it tells."""
        told = record if isinstance(record, State) and self._tells(offset, record) else None
        if isinstance(record, Takeover) and record.is_afresh:
            self._afresh = offset
        self._offsets.append(offset)
        self._appended_at_ms.append(appended_at_ms)
        return told

    def _tells(self, offset: int, state: State) -> bool:
        if not self._start - 1 <= state.as_of < offset or self._afresh > state.as_of:
            return False
        number = bisect_right(self._offsets, state.as_of)
        place = Place(state.clock_ms, state.as_of)
        return not number or place.holds_where(self._appended_at_ms[number - 1])
