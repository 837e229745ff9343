"""How much a user may send: a burst at once and a rate for long, which the sessions share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from cecochat.domain.cluster.configuration import Config
from cecochat.domain.session.bucket import TokenBucket
from cecochat.v1.messaging_pb2 import Send

TURN_S = 0.02  # a session that had to wait may send as much as the rate gives in this time
CHANGE_COSTS = 10  # as how many sends a change of a group counts
LOOK_S = 1.0  # how soon a waiting session sees that the rate has changed


class SendCredit:
    """The credit of one user. There is no debt: a session that ends while it waits has taken
    nothing, and the others go on.
    """

    def __init__(self, config: Callable[[], Config]) -> None:
        self._config = config
        self._bucket = TokenBucket(config().sends_burst, time.monotonic())
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
            return taken

    def _take_now(self, wanted: int) -> int:
        config = self._config()
        return self._bucket.take_up_to(
            wanted, time.monotonic(), config.sends_rate_per_user, config.sends_burst
        )

    def _wait_s(self, wanted: int) -> float:
        config = self._config()
        turn = int(config.sends_rate_per_user * TURN_S)
        count = max(1, min(wanted, turn, config.sends_burst))
        return self._bucket.wait_s(count, config.sends_rate_per_user)
