"""The send credit of users, and of the apps whose users share one."""

from __future__ import annotations

import asyncio

from cecochat.domain.cluster.configuration import Config
from cecochat.servers.messaging.credit import Rate, SendCredit, rate_of_app

PLENTY = Rate(1e6, 1_000_000)


async def test_users_of_an_app_take_turns() -> None:
    """Whoever has much to send gets a part of what there is, and then the next one is served."""
    shared = SendCredit(lambda: Rate(1_000.0, 10))
    greedy, modest = (SendCredit(lambda: PLENTY, shared) for _ in range(2))
    served: list[str] = []

    async def take(name: str, credit: SendCredit, left: int) -> None:
        while left:
            left -= await credit.take(left)
            served.append(name)

    async with asyncio.TaskGroup() as group:
        group.create_task(take("greedy", greedy, 100))
        group.create_task(take("modest", modest, 1))
    assert served.index("modest") <= 2
    assert served.count("greedy") > 2


async def test_who_gives_up_has_taken_nothing() -> None:
    rate = Rate(0.001, 1)
    shared = SendCredit(lambda: rate)
    await shared.take(1)
    credit = SendCredit(lambda: Rate(0.001, 5), shared)
    waiting = asyncio.create_task(credit.take(5))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])
    rate = PLENTY
    assert await credit.take(5) == 5


async def test_a_user_has_no_more_because_the_app_has() -> None:
    credit = SendCredit(lambda: Rate(0.001, 5), SendCredit(lambda: PLENTY))
    assert await credit.take(7) == 5


def test_an_app_may_send_as_much_at_once_as_in_a_second() -> None:
    assert rate_of_app(Config(sends_rate_per_app=1.5)) == Rate(1.5, 1)
    assert rate_of_app(Config(sends_rate_per_app=300.0)) == Rate(300.0, 300)
