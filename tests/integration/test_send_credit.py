"""Sends over the rate wait, and what a stolen token has asked for is not its owner's debt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from cecochat.v1.events_pb2 import GroupOptions, Membership
from cecochat.v1.messaging_pb2 import Send
from tests.integration.streams import Stream, message
from tests.integration.systems import Running, running

CHAT = "d:alice~bob"
SESSIONS = 15  # one less than a user may have
ROUNDS = 3
FRAME_SENDS = 256
RATE_PER_S, BURST = 20.0, 200
DEFAULTS = {"sends.rate_per_user": RATE_PER_S, "sends.burst": BURST}
SOON_S = 60.0  # long before a debt: one send of each session at the rate takes 0.8 s
DEBT_BEFORE_S = (ROUNDS * SESSIONS * FRAME_SENDS - BURST) / RATE_PER_S
pytestmark = pytest.mark.usefixtures("over_each")


async def test_who_is_silenced_by_a_stolen_token_is_heard_when_it_is_gone(tmp_path: Path) -> None:
    """Forty-five frames of 256 sends, from streams that end at once, once cost 566 s."""
    assert DEBT_BEFORE_S == 566
    async with running(tmp_path, DEFAULTS) as system:
        for number in range(ROUNDS):
            async with asyncio.timeout(SOON_S), flooding(system, f"round {number}"):
                pass
        async with system.stream("alice") as alice:
            await acknowledged_soon(alice)


async def test_sessions_share_the_rate_of_their_user(tmp_path: Path) -> None:
    async with (
        running(tmp_path, DEFAULTS) as system,
        system.stream("alice") as alice,
        asyncio.timeout(4 * SOON_S),
        flooding(system, "at once"),
    ):
        for number in range(3):
            await acknowledged_soon(alice, f"owner {number}")


async def test_a_frame_is_taken_in_its_order_and_at_the_rate(tmp_path: Path) -> None:
    async with running(tmp_path, {"sends.rate_per_user": 100.0, "sends.burst": 50}) as system:
        async with system.stream("alice") as alice:
            loop = asyncio.get_running_loop()
            begun_s = loop.time()
            await alice.send(*sends("m", 150))
            acks = await alice.until_acks(150)
        assert [item.ack.client_message_id for item in acks] == [f"m-{n}" for n in range(150)]
        assert loop.time() - begun_s > 0.95, "50 at once and 100 a second"


async def test_changes_of_groups_count_as_ten(tmp_path: Path) -> None:
    async with running(tmp_path, {"sends.rate_per_user": 100.0, "sends.burst": 50}) as system:
        async with system.stream("alice") as alice:
            loop = asyncio.get_running_loop()
            begun_s = loop.time()
            founded = Membership(options=GroupOptions(name="Us"))
            await alice.send(
                *(
                    Send(client_message_id=f"{n}", chat_id=f"g:{n}", membership=founded)
                    for n in range(15)
                )
            )
            await alice.until_acks(15)
        assert loop.time() - begun_s > 0.95, "5 at once and 10 a second"


@asynccontextmanager
async def flooding(system: Running, name: str) -> AsyncIterator[None]:
    """The sessions of a thief, each with a full frame of which some was taken."""
    async with AsyncExitStack() as stack:
        thieves = [await stack.enter_async_context(system.stream("alice")) for _ in range(SESSIONS)]
        for number, thief in enumerate(thieves):
            await thief.send(*sends(f"{name} {number}", FRAME_SENDS))
        await asyncio.gather(*(thief.until_acks(1) for thief in thieves))
        yield


def sends(name: str, count: int) -> list[Send]:
    return [message(f"{name}-{number}", CHAT, "x") for number in range(count)]


async def acknowledged_soon(owner: Stream, id_: str = "owner") -> None:
    async with asyncio.timeout(SOON_S):
        await owner.send(message(id_, CHAT))
        while (await owner.until("ack")).ack.client_message_id != id_:
            continue
