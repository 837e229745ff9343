"""Sends of a back end on their way to an owner that may be away: none overtakes another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.ownership.asks import Known
from cecochat.domain.ownership.calls import Called, Decision
from cecochat.internal.client import InternalClient
from cecochat.ports.discovery import Instance
from cecochat.servers.connect import passing
from cecochat.servers.connect.pace import BEHIND_MAX_S, Pace
from cecochat.servers.connect.passing import AT_ONCE, Passed, Passing
from cecochat.v1.messaging_pb2 import Send
from tests.support.eventually import eventually

OWNER = Instance("messaging", "m-1", "127.0.0.1:1", "http://127.0.0.1:2", "1")


class Owner:
    """Answers calls, unless it is away."""

    def __init__(self) -> None:
        self.is_away = False
        self.asked: list[str] = []

    async def call(
        self, _: Instance, partition: int, sends: Sequence[Called]
    ) -> list[Decision] | None:
        if self.is_away:
            return None
        self.asked += [each.send.client_message_id for each in sends]
        return [Known(number, Place(1, number)) for number, _ in enumerate(sends, 1)]


def sends(count: int) -> list[Passed]:
    user = UserId("ann")
    return [Passed(Called(user, Send(client_message_id=f"{n}")), 0) for n in range(count)]


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def reached(owner: Owner) -> Passing:
    return Passing(cast(InternalClient, owner), lambda _: OWNER, tuple, "log")


async def test_all_are_settled_in_order(owner: Owner, reached: Passing) -> None:
    given = sends(3 * AT_ONCE + 1)
    token = await reached.send(given)
    assert owner.asked == [each.called.send.client_message_id for each in given]
    assert not any(each.is_open or each.refusal for each in given)
    assert token.offsets[0] == AT_ONCE


async def test_after_one_of_which_nothing_is_known_none_is_tried(
    owner: Owner, reached: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passing, "TRY_S", 0.2)
    given = sends(3 * AT_ONCE)
    owner.is_away = True
    sending = asyncio.create_task(reached.send(given))
    await asyncio.sleep(0.4)
    owner.is_away = False
    await sending
    assert owner.asked == []
    assert all(each.refusal and each.refusal.retriable for each in given)


async def test_small_calls_go_between_the_parts_of_large_ones(
    owner: Owner, reached: Passing
) -> None:
    reached.pace.per_s = AT_ONCE / 3_600
    large = asyncio.create_task(reached.send(sends(2 * AT_ONCE)))
    await eventually(lambda: len(owner.asked) == AT_ONCE)
    await reached.send(sends(1))
    assert len(owner.asked) == AT_ONCE + 1, "the other part is due in an hour"
    large.cancel()


async def test_too_much_that_waits_is_refused(reached: Passing) -> None:
    reached.pace.per_s = 1
    reached.pace.check("")
    await reached.pace.wait("", int(BEHIND_MAX_S) + 20)  # it is the first, and so goes at once
    with pytest.raises(Refusal) as refusal:
        await reached.send(sends(AT_ONCE + 1))
    assert refusal.value.name == "rate_limited"
    await reached.send(sends(1))


async def test_apps_take_turns_to_send() -> None:
    """Of an app that has much to send, one part goes between two of another."""
    pace, gone = Pace(), []
    pace.per_s = 10_000

    async def part(app: str) -> None:
        await pace.wait(app, 10)
        gone.append(app)

    async with asyncio.TaskGroup() as group:
        for app in 10 * ["shop"] + 3 * ["news"]:
            group.create_task(part(app))
    assert gone == ["shop"] + 3 * ["shop", "news"] + 6 * ["shop"], "the first one goes at once"


async def test_what_waits_of_one_app_is_in_no_other_ones_way(reached: Passing) -> None:
    pace = reached.pace
    pace.per_s = 1
    await pace.wait("shop", 1)
    waiting = [asyncio.create_task(pace.wait("shop", 10)) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(Refusal, match="wait for 4"):
        pace.check("shop")
    pace.check("news")
    for each in waiting:
        each.cancel()
    await asyncio.wait(waiting)
    pace.check("shop")
