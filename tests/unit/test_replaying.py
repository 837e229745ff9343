"""The turns in which the sessions of a user are brought what they missed."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise

from cecochat.servers.messaging.replaying import PAUSE_MAX_S, TURN_S, Replays

SESSIONS, SECONDS = 16, 0.5
TIMER_S = 0.002  # by so much a timer of the loop may be early


async def test_a_user_has_one_turn_at_a_time_and_half_of_the_time() -> None:
    replays, taken = Replays(), [0] * SESSIONS
    turns: list[tuple[float, float]] = []  # when each begins and ends
    until_s = time.monotonic() + SECONDS

    async def session(number: int) -> None:
        while time.monotonic() < until_s:
            async with replays.turn() as to_s:
                begun_s = time.monotonic()
                while time.monotonic() < to_s:  # noqa: ASYNC110
                    await asyncio.sleep(0)
                turns.append((begun_s, time.monotonic()))
                taken[number] += 1

    async with asyncio.TaskGroup() as group:
        for number in range(SESSIONS):
            group.create_task(session(number))
    for (begun_s, ended_s), (next_s, _) in pairwise(turns):
        assert next_s - ended_s >= min(PAUSE_MAX_S, ended_s - begun_s) - TIMER_S
    assert min(taken) >= max(taken) - 1, "in turn"
    assert sum(taken) > SESSIONS


async def test_a_turn_that_fails_is_the_next_ones() -> None:
    replays = Replays()
    for _ in range(2):
        async with asyncio.timeout(60):
            try:
                async with replays.turn() as to_s:
                    assert to_s <= time.monotonic() + TURN_S
                    raise ConnectionError
            except ConnectionError:
                continue
