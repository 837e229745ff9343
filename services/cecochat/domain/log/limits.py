"""The bounds that an owner works within; changed while it runs."""

from __future__ import annotations

from dataclasses import dataclass

CLOCKS_APART_MAX_MS = 60_000
"""So far ahead of the log's clock may a server's be that accepts messages, and of a server's what
a client says it has seen.
"""
IDS_AHEAD_MAX_MS = 3 * CLOCKS_APART_MAX_MS
"""So far behind an id its record may be appended: by both of these, and by a jump of the clock that
no record has shown yet.
"""


@dataclass(slots=True)
class OwnerLimits:
    """What an owner of a partition remembers; `state_every` is in records."""

    resend_window_ms: int = 600_000
    resend_entries_max: int = 20_000
    tail_max_bytes: int = 4 << 20
    lane_max_bytes: int = 128 << 10  # of copies that wait for one target
    state_every: int = 1_000
    state_after_ms: int = 3_600_000  # nothing is released behind the last one
