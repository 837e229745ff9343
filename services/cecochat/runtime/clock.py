"""The wall clock, as records and rows have it."""

from __future__ import annotations

import time


def now_ms() -> int:
    """Ms since 1970."""
    return time.time_ns() // 1_000_000
