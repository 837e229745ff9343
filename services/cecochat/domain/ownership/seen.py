"""How much of the logs of groups a client has seen, by its position in the log of its own
partition.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, deque
from collections.abc import Mapping

from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied


class Seen:
    """Remembers which copies had counted at each of the latest offsets. `offset` and `high` are
    where an owner begins, and what had counted there.
    """

    def __init__(self, offset: int, high: Mapping[int, Copied], entries_max: int) -> None:
        self._floor = offset  # below that, it is not known
        self._before = {origin: copied.origin for origin, copied in high.items()}
        self._copies: dict[int, list[tuple[int, Place]]] = {}  # by origin: (offset, origin's place)
        self._order: deque[int] = deque()  # their origins
        self._entries_max = entries_max

    def add(self, offset: int, origin: int, place: Place) -> None:
        """Take in that the copy at `offset` counts."""
        self._copies.setdefault(origin, []).append((offset, place))
        self._order.append(origin)
        if len(self._order) > self._entries_max:
            self._drop()

    def _drop(self) -> None:
        """Forget the oldest quarter."""
        oldest = Counter(self._order.popleft() for _ in range(len(self._order) // 4 + 1))
        for origin, number in oldest.items():
            offset, self._before[origin] = self._copies[origin][number - 1]
            self._floor = max(self._floor, offset)
            del self._copies[origin][:number]

    def up_to(self, offset: int, origin: int) -> Place:
        """Return up to where a client at `offset` has seen the log of `origin`; `NOWHERE` if that
        is not known any more.
        """
        if offset < self._floor:
            return NOWHERE
        copies = self._copies.get(origin, [])
        number = bisect_right(copies, offset, key=lambda each: each[0])
        return copies[number - 1][1] if number else self._before.get(origin, NOWHERE)
