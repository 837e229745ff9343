"""How fast sends of back ends are passed on, and in which order."""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.errors import Refusal
from cecochat.v1 import errors_pb2

BEHIND_MAX_S = 15.0
"""A large call is refused while so much of its app waits: callers wait for 30 s."""


class Pace:
    """Spreads what is passed on over time. Apps take turns, so that none waits for all that another
    one sends; within an app, what comes first goes first.
    """

    def __init__(self) -> None:
        self.per_s = Config().backend_pace
        self._next_s = 0.0
        self._waiting: Counter[str] = Counter()  # sends, by app
        # Locks are fair: the first of each app waits for its turn among those of the others.
        self._of_app: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._turn = asyncio.Lock()

    def check(self, app: str) -> None:
        """Raise `Refusal` if one more call of the app would have to wait for too long."""
        own = self._waiting[app]
        ahead = sum(min(own, each) for each in self._waiting.values())
        behind_s = max(0.0, self._next_s - time.monotonic()) + ahead / self.per_s
        if behind_s > BEHIND_MAX_S:
            raise Refusal(
                errors_pb2.ERROR_CODE_RATE_LIMITED,
                f"sends of back ends wait for {behind_s:.0f} s here: send fewer, or have an "
                "operator raise backend.pace",
                int((behind_s - BEHIND_MAX_S + 1) * 1_000),
            )

    async def wait(self, app: str, count: int) -> None:
        """Wait until so many sends of an app may go."""
        self._waiting[app] += count
        try:
            async with self._of_app[app], self._turn:
                now_s = time.monotonic()
                at_s = max(now_s, self._next_s)
                if at_s > now_s:
                    await asyncio.sleep(at_s - now_s)
                self._next_s = at_s + count / self.per_s
        finally:
            self._waiting[app] -= count
