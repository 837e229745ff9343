"""When an owner appends state records, and how much of the log those that are read back release."""

from __future__ import annotations

from collections import deque

from cecochat.domain.log.limits import OwnerLimits


class StateRecords:
    """The state records of one owner. `read_to` is the offset up to which it has read the log."""

    def __init__(self, read_to: int, limits: OwnerLimits) -> None:
        self._limits = limits
        self._as_of = read_to  # of the last state record
        self._at_ms: int | None = None  # when that was read or made, or reading began
        self._made_ms: dict[int, int] = {}  # `as_of` of own records -> when they were made
        self._read_back: deque[tuple[int, int]] = deque()  # (offset, as_of) of own records

    def begin(self, now_ms: int) -> None:
        """Note that a record is read."""
        if self._at_ms is None:
            self._at_ms = now_ms

    def is_due(self, read_to: int, now_ms: int) -> bool:
        """Return whether enough was read since the last one, or that is so old that it holds up
        retention.
        """
        if read_to - self._as_of >= self._limits.state_every:
            return True
        since_ms = now_ms if self._at_ms is None else self._at_ms
        return now_ms - since_ms >= self._limits.state_after_ms

    def soon(self, read_to: int) -> None:
        """Make one due now."""
        self._as_of = min(self._as_of, read_to - self._limits.state_every)

    def make(self, as_of: int, now_ms: int) -> None:
        """Note that one is appended."""
        self._as_of, self._at_ms = as_of, now_ms
        self._made_ms[as_of] = now_ms

    def read(self, offset: int, as_of: int, now_ms: int) -> int | None:
        """Take in one that was read. Returns when it was made, if it is an own one."""
        self._as_of, self._at_ms = max(self._as_of, as_of), now_ms
        made_ms = self._made_ms.get(as_of)
        if made_ms is not None:
            self._read_back.append((offset, as_of))
        return made_ms

    def released(self, safe: int) -> int | None:
        """Return the lowest offset that is needed by whoever reads on from `safe`; None if that has
        not moved up.
        """
        released = None
        while self._read_back and self._read_back[0][0] < safe:
            _, as_of = self._read_back.popleft()
            self._made_ms.pop(as_of, None)
            released = as_of + 1
        return released
