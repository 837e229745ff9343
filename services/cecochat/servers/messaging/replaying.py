"""How the sessions of one user catch up: they take turns, and use half of the time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

TURN_S = 0.005
"""How long a session is fed records before it is another's turn."""
PAUSE_MAX_S = 0.05


class Replays:
    """The turns of one user. A single session reads the log as fast as its client reads, and
    sixteen of them at once would leave nothing of the server to other users.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()  # it is fair: whoever waits the longest is next

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[float]:
        """Wait for a turn, and yield when it has to end, in s of `time.monotonic`. After it comes a
        pause of the same length for other users.
        """
        async with self._turn:
            begun_s = time.monotonic()
            yield begun_s + TURN_S
            await asyncio.sleep(min(PAUSE_MAX_S, time.monotonic() - begun_s))
