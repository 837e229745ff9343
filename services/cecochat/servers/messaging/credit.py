"""How much a user, and all users of an app, may send: a burst at once and a rate for long, which
their sessions share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.session.bucket import TokenBucket
from cecochat.v1.messaging_pb2 import Send

TURN_S = 0.02  # a session that had to wait may send as much as the rate gives in this time
CHANGE_COSTS = 10  # as how many sends a change of a group counts
LOOK_S = 1.0  # how soon a waiting session sees that the rate has changed


class Rate(NamedTuple):
    """How many sends there may be a second for long, and how many at once."""

    per_s: float
    burst: int


def rate_of_user(config: Config) -> Rate:
    """Return what a user may send."""
    return Rate(config.sends_rate_per_user, config.sends_burst)


def rate_of_app(config: Config) -> Rate:
    """Return what all users of an app may send to one server: at once, as much as in a second."""
    return Rate(config.sends_rate_per_app, max(1, int(config.sends_rate_per_app)))


class SendCredit:
    """The credit of one user, or of an app. What a user takes is taken from `shared` as well, where
    the users of the app take turns. There is no debt: a session that ends while it waits has taken
    nothing, and the others go on.
    """

    def __init__(self, rate: Callable[[], Rate], shared: SendCredit | None = None) -> None:
        self._rate = rate
        self._shared = shared
        self._bucket = TokenBucket(rate().burst, time.monotonic())
        self._turn = asyncio.Lock()  # it is fair: whoever waits the longest is next

    async def take_for(self, sends: Sequence[Send]) -> int:
        """Wait until there is credit for some of these sends, and take it. Returns how many, from
        the first on. What a change of a group comes to is kept in memory, so it costs more.
        """
        taken = await self.take(len(sends))
        rest = (CHANGE_COSTS - 1) * sum(each.HasField("membership") for each in sends[:taken])
        while rest:
            rest -= await self.take(rest)
        return taken

    async def take(self, wanted: int) -> int:
        """Wait until there is credit, and take it for up to `wanted` sends. Returns how many."""
        async with self._turn:
            while not (taken := self._take_now(wanted)):  # noqa: ASYNC110 - credit comes with time
                await asyncio.sleep(min(LOOK_S, self._wait_s(wanted)))
            return await self._take_shared(self._shared, taken) if self._shared else taken

    async def _take_shared(self, shared: SendCredit, own: int) -> int:
        taken = 0
        try:
            taken = await shared.take(own)
        finally:
            self._bucket.give_back(own - taken)
        return taken

    def _take_now(self, wanted: int) -> int:
        return self._bucket.take_up_to(wanted, time.monotonic(), *self._rate())

    def _wait_s(self, wanted: int) -> float:
        per_s, burst = self._rate()
        count = max(1, min(wanted, int(per_s * TURN_S), burst))
        return self._bucket.wait_s(count, per_s)
