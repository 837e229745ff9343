"""Asks the history until it knows of a group what this device was told of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from random import random
from typing import TypeVar

from cecochat.client.backoff import BackOff
from cecochat.client.errors import Refused

T = TypeVar("T")

GIVE_UP_S = 20.0
BACK_OFF = BackOff(base_s=0.05, max_s=2.0)


async def recent(ask: Callable[[], Awaitable[T]], is_recent: Callable[[T], bool]) -> T:
    """Return the first answer that is recent, and does not say that there is no such group.

    Raises what `ask` raises; after 20 s also `Refused`, `behind` or `not_found`.
    """
    give_up_s = time.monotonic() + GIVE_UP_S
    for attempt in count():
        try:
            if is_recent(answer := await ask()):
                return answer
            refused = Refused(
                "behind", "the history is not that far yet: ask again", retriable=True
            )
        except Refused as error:
            if error.code != "not_found":
                raise
            refused = error
        wait_s = BACK_OFF.wait_s(attempt, random())  # noqa: S311
        if time.monotonic() + wait_s > give_up_s:
            raise refused
        await asyncio.sleep(wait_s)
    raise AssertionError("counted to the end")
