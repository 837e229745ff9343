"""The bounds that an owner works within; changed while it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class OwnerLimits:
    """What an owner of a partition remembers; `state_every` is in records."""

    resend_window_ms: int = 600_000
    resend_entries_max: int = 20_000
    tail_max_bytes: int = 4 << 20
    state_every: int = 1_000
