"""When an owner appends state records, and how much of the log those that are read back release."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.records import State


class Made(NamedTuple):
    """When an own record was made, in ms since 1970, and how many of its parts were not read."""

    at_ms: int
    parts: int


class StateRecords:
    """The state records of one owner. `read_to` is the offset up to which it has read the log.

    Not every one of them says all of groups: that would be too much where there are many members.
    Whoever serves users has to begin at one that does.
    """

    def __init__(self, read_to: int, limits: OwnerLimits) -> None:
        self._limits = limits
        self._as_of = read_to  # of the last state record
        self._wants_groups = False
        self._at_ms: int | None = None  # when that was read or made, or reading began
        self._told_groups_at = read_to  # the `as_of` of the last one that says all of groups
        self._made: dict[int, Made] = {}  # by `as_of`
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
        """Make one due now, with all groups."""
        self._as_of = min(self._as_of, read_to - self._limits.state_every)
        self._wants_groups = True

    def tells_groups(self, read_to: int, members: int) -> bool:
        """Return whether the next one should say all of groups, which have so many members. What
        has been read since the last one that did must be worth that.
        """
        records = read_to - self._told_groups_at
        return self._wants_groups or records * self._limits.members_per_record >= members

    def make(self, as_of: int, now_ms: int, parts: int = 0) -> None:
        """Note that one is appended, in so many parts that say all of groups."""
        self._as_of, self._at_ms = as_of, now_ms
        if parts:
            self._told_groups_at, self._wants_groups = as_of, False
        self._made[as_of] = Made(now_ms, parts)

    def read(self, offset: int, state: State, now_ms: int) -> int | None:
        """Take in one that was read. Returns when it was made, if it is an own one."""
        self._as_of, self._at_ms = max(self._as_of, state.as_of), now_ms
        made = self._made.get(state.as_of)
        if made is None:
            return None
        if state.groups is not None and made.parts:
            made = self._made[state.as_of] = Made(made.at_ms, made.parts - 1)
            if not made.parts:
                self._read_back.append((offset, state.as_of))
        return made.at_ms

    def released(self, safe: int) -> int | None:
        """Return the lowest offset that is needed by whoever reads on from `safe`; None if that has
        not moved up.
        """
        released = None
        while self._read_back and self._read_back[0][0] < safe:
            _, as_of = self._read_back.popleft()
            self._made = {each: made for each, made in self._made.items() if each > as_of}
            released = as_of + 1
        return released
