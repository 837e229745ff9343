"""What an origin is copied to, and which origin went there before it.

Every copy names the origin before it that concerns the same partition. So the copies from one
partition to another are a chain that any reader can check, whoever has made each of them, and
whatever was taken over in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, Copied, Origin


class Link(NamedTuple):
    """A copy that an origin needs."""

    user_ids: list[str]
    after: Place  # the origin before it that concerns the same partition; nowhere: none is known


Links = dict[int, Link]  # by target partition
PlaceOf = Callable[[str], int]
"""The partition of a user."""


class Chain:
    """For each target partition the last valid origin that concerns it.

    `place` says where a user lives. Without it nothing is linked: most readers of a log do not need
    that.
    """

    def __init__(self, place: PlaceOf | None, last: dict[int, Copied]) -> None:
        self._place = place
        self.last = last
        self.links: Links = {}  # of the valid origin that was read last

    def add(self, at: Place, origin: Origin) -> None:
        """The next valid origin."""
        if self._place:
            self.links = {
                target: Link(users, self.last_for(target).origin)
                for target, users in self._targets(origin, self._place).items()
            }
            self.last.update(dict.fromkeys(self.links, Copied(at, origin.id)))

    def last_for(self, target: int) -> Copied:
        """The last origin that concerns this partition."""
        return self.last.get(target, NOTHING)

    def _targets(self, origin: Origin, place: PlaceOf) -> dict[int, list[str]]:
        targets: dict[int, list[str]] = {}
        for user in self.recipients(origin):
            targets.setdefault(place(user), []).append(user)
        return targets

    def recipients(self, origin: Origin) -> Sequence[str]:
        """Those frozen in the origin when it was accepted, never those of today."""
        return origin.recipient_ids
