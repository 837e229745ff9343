"""Which copies an owner still owes the other partitions, and how far it has brought all of them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from cecochat.domain.records import Copy, Origin


class Forwarder:
    """Turns valid origins, in log order as read, into copies: one a target partition, each naming
    the one before it.

    `done` is the highest offset such that every valid origin up to it is in all its targets; what
    the group `forward` commits. A stale or lost commit only costs repeated copies, which readers do
    not count.
    """

    def __init__(self, partition: int, place: Callable[[str], int], done: int) -> None:
        self.partition = partition
        self.done = done
        self._place = place
        self._waiting: deque[tuple[int, Origin]] = deque()
        self._sent: deque[int] = deque()  # offsets in log order, copies under way or acknowledged
        self._left: dict[int, int] = {}  # offset -> targets that have not acknowledged
        self._after: dict[
            int, int
        ] = {}  # target -> origin offset copied there before, in this session

    def add(self, offset: int, origin: Origin) -> None:
        """A valid origin was read at `offset`."""
        if offset > self.done:
            self._waiting.append((offset, origin))

    @property
    def backlog(self) -> int:
        """How many origins are not in all their targets yet."""
        return len(self._waiting) + len(self._sent)

    def take(self, limit: int) -> list[tuple[int, Copy]]:
        """Copies to append now, in order, as (target, copy): those of the next `limit` origins."""
        copies: list[tuple[int, Copy]] = []
        while self._waiting and limit > 0:
            offset, origin = self._waiting.popleft()
            targets = self._targets(origin)
            self._sent.append(offset)
            self._left[offset] = len(targets)
            copies.extend(self._copy(target, offset, origin, to) for target, to in targets.items())
            limit -= 1
        self._advance()
        return copies

    def _targets(self, origin: Origin) -> dict[int, list[str]]:
        targets: dict[int, list[str]] = {}
        for user in self.recipients(origin):
            targets.setdefault(self._place(user), []).append(user)
        return targets

    def recipients(self, origin: Origin) -> Sequence[str]:
        """Those frozen in the origin when it was accepted, never those of today."""
        return origin.recipient_ids

    def _copy(self, target: int, offset: int, origin: Origin, to: list[str]) -> tuple[int, Copy]:
        after = self._after.get(target, -1)
        self._after[target] = offset
        return target, Copy(origin.id, self.partition, offset, after, tuple(to), origin.event)

    def caught_up(self, offset: int) -> None:
        """Everything up to `offset` was read: with nothing owed, that is how far all targets
        are.
        """
        if not self.backlog:
            self.done = max(self.done, offset)

    def acknowledged(self, offset: int) -> None:
        """One target has the copy of the origin at `offset`, durably."""
        self._left[offset] -= 1
        self._advance()

    def _advance(self) -> None:
        while self._sent and not self._left[self._sent[0]]:
            self.done = self._sent.popleft()
            del self._left[self.done]
