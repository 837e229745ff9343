"""The limits that an owner works within; they can change while it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cecochat.domain.log.ids import app_of

CLOCKS_APART_MAX_MS = 60_000
"""How far the clock of a server that accepts messages may be ahead of the log's, and how far the id
that a client says it has seen may be ahead of the server's.
"""
IDS_AHEAD_MAX_MS = 3 * CLOCKS_APART_MAX_MS
"""How far the time in an id may be ahead of the append time of its record: by both of these, and by
a jump of the clock that no record has shown yet.
"""


@dataclass(slots=True)
class SendLimits:
    """What a send may be. `apps` has those of the apps that have limits of their own, by name."""

    text_max_bytes: int = 16 << 10
    members_max: int = 1_000  # of a group
    made_max: int = 100  # groups of one home that a user may have made
    apps: Mapping[str, SendLimits] = field(default_factory=dict)

    def of(self, id_: str) -> SendLimits:
        """Return the limits for a user or a chat, by its id."""
        return self.apps.get(app_of(id_), self) if self.apps else self


@dataclass(slots=True)
class OwnerLimits:
    """How much an owner of a partition remembers. `state_every` is a number of records."""

    resend_window_ms: int = 600_000
    resend_entries_max: int = 20_000
    tail_max_bytes: int = 4 << 20
    lane_max_bytes: int = 128 << 10  # of copies that may wait for one target in any case
    lanes_max_bytes: int = 4 << 20  # of copies for all targets: until then a lane may hold more
    state_every: int = 1_000
    members_per_record: float = 8.0  # that state records may repeat, for each record in between
    part_members: int = 5_000  # of groups in one state record
    state_after_ms: int = 3_600_000  # nothing after the last state record can be released
