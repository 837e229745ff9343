"""Delays the refusals of a flood.

A refusal costs a server as much as an answer, and whoever floods it asks again as soon as it is
refused.
"""

from __future__ import annotations

import asyncio
import time

from cecochat.domain.errors import Refusal
from cecochat.domain.session.bucket import TokenBucket
from cecochat.v1 import errors_pb2

RATE_PER_S, BURST = 50.0, 100
LATE_S = 1.0
LATE_PER_S = 100.0
"""How many delayed refusals are sent per second. If more wait, they wait longer."""
WAITING_MAX = 2_000
"""Beyond this many, refusals are sent at once, because waiting costs memory."""
HELD = frozenset(
    {
        errors_pb2.ERROR_CODE_UNAUTHENTICATED,
        errors_pb2.ERROR_CODE_TOKEN_EXPIRED,
        errors_pb2.ERROR_CODE_TOKEN_REVOKED,
        errors_pb2.ERROR_CODE_RATE_LIMITED,
        errors_pb2.ERROR_CODE_TOO_MANY_SESSIONS,
    }
)


class Tarpit:
    """Delays the refusals of one server, except for the first ones in each second."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(BURST, time.monotonic())
        self._waiting = 0

    async def hold(self, refusal: Refusal) -> None:
        """Wait before a refusal is sent, if there have been many."""
        if refusal.error_code not in HELD or self._waiting >= WAITING_MAX:
            return
        if not self._bucket.take_or_wait_s(time.monotonic(), RATE_PER_S, BURST):
            return
        self._waiting += 1
        try:
            await asyncio.sleep(LATE_S + self._waiting / LATE_PER_S)
        finally:
            self._waiting -= 1
