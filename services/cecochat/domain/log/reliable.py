"""Which state records of a log can be relied on."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import replace

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import LogRecord, State, Takeover


class ReliableStates:
    """Takes in the records of a log from `start` on, and finds the state records that describe the
    records before them.

    Two kinds of state record do not. One was written by a producer session that had read an end
    which the log has since lost. The other landed behind the takeover of an owner that began
    afresh, but describes what was before it: what counts is what that owner knows, which is less.

    With `with_groups`, it finds those alone that say all of groups, and joins their parts.
    """

    def __init__(self, start: int, *, with_groups: bool = False) -> None:
        self._start = start
        self._with_groups = with_groups
        self._parts: dict[tuple[int, int], dict[int, State]] = {}  # by `as_of` and their number
        self._offsets: list[int] = []
        self._appended_at_ms: list[int] = []
        self._afresh_offset = -1  # of the last takeover whose owner began afresh

    def take(
        self, offset: int, record: LogRecord | Undecodable | None, appended_at_ms: int
    ) -> State | None:
        """Take in the next record, and return it if it is a state record that can be relied on.
        Pass None for a record that is neither a state record nor a takeover.
        """
        state = record if isinstance(record, State) and self._is_valid(offset, record) else None
        if isinstance(record, Takeover) and record.is_afresh:
            self._afresh_offset = offset
        self._offsets.append(offset)
        self._appended_at_ms.append(appended_at_ms)
        return self._joined(state) if state and self._with_groups else state

    def _joined(self, state: State) -> State | None:
        if state.groups is None or state.part_count <= 1:
            return None if state.groups is None else state
        parts = self._parts.setdefault((state.as_of, state.part_count), {})
        parts[state.part] = state
        if len(parts) < state.part_count:
            return None
        groups = (entry for number in sorted(parts) for entry in parts[number].groups or ())
        return replace(state, groups=tuple(groups), part=0, part_count=0)

    def _is_valid(self, offset: int, state: State) -> bool:
        if not self._start - 1 <= state.as_of < offset or self._afresh_offset > state.as_of:
            return False
        number = bisect_right(self._offsets, state.as_of)
        place = Place(state.clock_ms, state.as_of)
        return not number or place.holds_where(self._appended_at_ms[number - 1])
