"""How much of the logs of groups a client has seen, by its position in the log of its own
partition.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping

from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied


class Seen:
    """Remembers which copies had counted at each of the latest offsets. `offset` and `high` are
    where an owner begins, and what had counted there.
    """

    def __init__(self, offset: int, high: Mapping[int, Copied], entries_max: int) -> None:
        self._floor = offset  # below that, it is not known
        self._before = {partition: copied.origin for partition, copied in high.items()}
        self._copies: list[
            tuple[int, int, Place]
        ] = []  # (offset, partition of the origin, its place)
        self._entries_max = entries_max

    def add(self, offset: int, partition: int, origin: Place) -> None:
        """Take in that the copy at `offset` counts."""
        self._copies.append((offset, partition, origin))
        if len(self._copies) > self._entries_max:
            self._forget_some()

    def _forget_some(self) -> None:
        oldest = self._copies[: len(self._copies) // 4 + 1]
        self._before |= {partition: origin for _, partition, origin in oldest}
        self._floor = oldest[-1][0]
        del self._copies[: len(oldest)]

    def up_to(self, offset: int, partition: int) -> Place:
        """Return up to where a client at `offset` has seen the log of that partition; `NOWHERE` if
        it is not known any more.
        """
        if offset < self._floor:
            return NOWHERE
        number = bisect_right(self._copies, offset, key=lambda each: each[0])
        for _, origin_partition, origin in reversed(self._copies[:number]):
            if origin_partition == partition:
                return origin
        return self._before.get(partition, NOWHERE)
