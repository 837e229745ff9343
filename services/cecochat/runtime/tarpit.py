"""Who is refused again and again waits for it: a refusal costs a server as much as an answer, and
whoever floods it is refused as fast as it says so.
"""

from __future__ import annotations

import asyncio
import time

from cecochat.domain.bucket import TokenBucket
from cecochat.domain.errors import Refusal
from cecochat.v1 import errors_pb2

RATE_PER_S, BURST = 50.0, 100
LATE_S = 1.0
WAITING_MAX = 500
"""Beyond that many they are told at once: to let them wait would cost memory."""
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
    """Of one server. The first refusals of a second are told at once."""

    def __init__(self) -> None:
        self._bucket = TokenBucket(BURST, time.monotonic())
        self._waiting = 0

    async def hold(self, refusal: Refusal) -> None:
        """Before it is told."""
        if refusal.error_code not in HELD or self._waiting >= WAITING_MAX:
            return
        if not self._bucket.try_take(time.monotonic(), RATE_PER_S, BURST):
            return
        self._waiting += 1
        try:
            await asyncio.sleep(LATE_S)
        finally:
            self._waiting -= 1
