"""How long a request may take to arrive, and how many may be arriving at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from cecochat.domain.errors import Refusal
from cecochat.v1 import errors_pb2

REQUEST_TIMEOUT_S = 10.0
ARRIVING_MAX = 512
"""How many requests of a server may be arriving at a time. Each holds up to 64 KiB, twice."""
CROWDED_RETRY_MS = 500


class Arrivals:
    """The requests of a server that have begun and are not all there yet.

    If there are too many, the one that has taken longest is given up. An honest request is there at
    once, so one that trickles in cannot keep it out.
    """

    def __init__(self, at_once: int = ARRIVING_MAX) -> None:
        self._at_once = at_once
        self._deadlines: dict[asyncio.Timeout, None] = {}  # the oldest comes first

    @asynccontextmanager
    async def soon(self) -> AsyncIterator[None]:
        """Bound a block that waits for a request. Raises `Refusal` (timeout, rate_limited)."""
        if len(self._deadlines) >= self._at_once:
            self._give_up_oldest()
        deadline = asyncio.timeout(REQUEST_TIMEOUT_S)
        try:
            async with deadline:
                self._deadlines[deadline] = None
                yield
        except TimeoutError:
            raise (_late() if deadline in self._deadlines else _crowded()) from None
        finally:
            self._deadlines.pop(deadline, None)

    def _give_up_oldest(self) -> None:
        oldest = next(iter(self._deadlines))
        if not oldest.expired():
            del self._deadlines[oldest]
            oldest.reschedule(asyncio.get_running_loop().time())


def _late() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_TIMEOUT,
        f"no request came within {REQUEST_TIMEOUT_S:g} s: send one at once",
    )


def _crowded() -> Refusal:
    return Refusal(
        errors_pb2.ERROR_CODE_RATE_LIMITED,
        "too many requests are on their way to this server: send all of it at once",
        CROWDED_RETRY_MS,
    )
