"""Which partitions an origin is copied to, and which origin was copied there before it.

Every copy names the previous origin that concerns the same partition. So the copies from one
partition to another form a chain that any reader can check, no matter which owner made each copy
and how often the partition was taken over in between.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cecochat.domain.log.ids import UserId, partition_in
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import NOTHING, Copied, Origin


class Link(NamedTuple):
    """A copy that an origin needs: for whom it is, and which origin precedes it in the chain."""

    user_ids: list[UserId]
    after: Place  # the previous origin that concerns the same partition, or `NOWHERE`


Links = dict[int, Link]  # by target partition
PartitionOf = Callable[[UserId], int]
"""A function that returns the partition of a user id."""


class Here(NamedTuple):
    """A partition, and where everybody lives."""

    partition: int
    partition_of: PartitionOf

    def home_of(self, chat_id: str) -> int:
        """Return the home partition of a group."""
        return self.partition_of(UserId(chat_id))

    def has(self, id_: str) -> bool:
        """Return whether that user or group lives in this partition."""
        return self.partition_of(UserId(id_)) == self.partition


class Chain:
    """Remembers the last valid origin that concerns each target partition.

    Most readers of a log do not need the links, so they do not say where they are, and then `links`
    stays empty.
    """

    def __init__(self, here: Here | None, last: dict[int, Copied]) -> None:
        self._here = here
        self.last = last
        self.links: Links = {}  # of the valid origin that was read last
        self.home: list[UserId] = []  # its recipients that get that record itself

    def add(self, at: Place, origin: Origin) -> None:
        """Take in the next valid origin, which was read at `at`."""
        if self._here:
            targets = self._targets(origin, self._here.partition_of)
            self.home = targets.pop(partition_in(origin.id), []) if origin.serves_home else []
            self.links = {
                target: Link(user_ids, self.last_for(target).origin)
                for target, user_ids in targets.items()
            }
            self.last.update(dict.fromkeys(self.links, Copied(at, origin.id)))

    def last_for(self, target: int) -> Copied:
        """Return the last origin that concerns this partition."""
        return self.last.get(target, NOTHING)

    def _targets(self, origin: Origin, partition_of: PartitionOf) -> dict[int, list[UserId]]:
        targets: dict[int, list[UserId]] = {target: [] for target in origin.targets}
        for user_id in self.recipients(origin):
            targets.setdefault(partition_of(user_id), []).append(user_id)
        return targets

    def recipients(self, origin: Origin) -> Sequence[UserId]:
        """Return the recipients that were frozen when the origin was accepted, not the chat's of
        today.
        """
        return () if origin.group_event else origin.recipient_ids  # a group's has targets
