"""How the sessions of one user are brought what they missed: in turn, and half of the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TURN_S = 0.005
"""So long a session is fed records, then it is another's turn."""
PAUSE_MAX_S = 0.05


class Replays:
    """The turns of one user, however many sessions ask: a session alone reads the log as fast as
    its client reads, and sixteen of them left nothing of the server to others.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # it is fair: who waits for longest is next

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn; when it is to end, in s of `time.monotonic`. What follows it belongs to
        other users.
        """
        async with self._turn:
            begun_s = time.monotonic()
            yield begun_s + TURN_S
            await asyncio.sleep(min(PAUSE_MAX_S, time.monotonic() - begun_s))
