"""The sizes of the simulated world, and who is in it."""

from __future__ import annotations

from typing import NamedTuple

from cecochat.domain.log.limits import OwnerLimits

USERS = "abcd"  # user i lives on partition i modulo their count: by default a and d share one
DEVICES = ("a0", "a1", "b0", "c0", "d0")
GROUP = "g:all"  # its members change
FOUNDER = "a"  # who owns it, and never leaves
SYSTEM = "s"  # who belongs to no group, and has no device
HOMES = {user: number for number, user in enumerate(USERS)} | {GROUP: 1, SYSTEM: 2}
"""Where users and groups live, modulo the number of partitions: by default b lives at the group's
home.
"""


class Shape(NamedTuple):
    """Sizes: small, so that every bound is reached."""

    partitions: int = 3
    nodes: int = 3
    queue_max_bytes: int = 500
    tail_max_bytes: int = 200
    state_every: int = 5
    window_ms: int = 10_000
    entries_max: int = 4
    resend_records: int = 3
    lane_max_bytes: int = 60
    lanes_max_bytes: int = 0
    members_per_record: float = 0.5
    part_members: int = 2
    state_after_ms: int = 60_000

    def limits(self) -> OwnerLimits:
        """The owner's part of it."""
        return OwnerLimits(
            resend_window_ms=self.window_ms,
            resend_entries_max=self.entries_max,
            tail_max_bytes=self.tail_max_bytes,
            lane_max_bytes=self.lane_max_bytes,
            lanes_max_bytes=self.lanes_max_bytes,
            state_every=self.state_every,
            members_per_record=self.members_per_record,
            part_members=self.part_members,
            state_after_ms=self.state_after_ms,
        )
