"""The server is killed while people talk: nothing acknowledged is lost, doubled or out of order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import pytest

from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.evidence import Fault, faults
from tests.support.oracle import Violation
from tests.support.pipes import TransportName
from tests.support.records import Acked, Closed, DeviceKey, Sent, dialog, is_group
from tests.support.results import write
from tests.support.server import Server, running
from tests.support.traffic import flowing, ring, volley

USERS = 50
RATE_PER_S = {"embedded": 500, "real": 50}
TEXT = "just this"
BACK_WITHIN_S = 5.0  # to reach; measured and written down


class Lived(NamedTuple):
    """Where people talk: the variables of the system, and how they reach it; None: either way in
    turn, which is enough where the backends are the subject.
    """

    name: str
    environment: dict[str, str]
    transport: TransportName | None

    def crowd(self, server: Server) -> Crowd:
        return Crowd(
            lambda: server.connect_url, server.secret_file, server.record, transport=self.transport
        )


@pytest.fixture(
    params=[
        "embedded-grpc",
        "embedded-websocket",
        pytest.param("12-grpc", marks=pytest.mark.slow),
        pytest.param("12-websocket", marks=pytest.mark.slow),
        "real",
    ]
)
def lived(request: pytest.FixtureRequest) -> Lived:
    where, _, transport = request.param.partition("-")
    if where == "real":
        return Lived(request.param, request.getfixturevalue("on_real"), None)
    variables = {"CECOCHAT_PARTITIONS": "12"} if where == "12" else {}
    return Lived(request.param, variables, transport)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, marks=pytest.mark.timeout(420)),
        pytest.param(20, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),
    ],
)
async def test_killed_under_traffic(
    kills: int,
    lived: Lived,
    tmp_path: Path,
    rng: Random,
    base_seed: int,
) -> None:
    rate_per_s = RATE_PER_S["real" if lived.name == "real" else "embedded"]
    async with running(tmp_path, lived.environment) as server:
        crowd = lived.crowd(server)
        who, chats = ring(USERS)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), rate_per_s, rng):
                for _ in range(kills):
                    await asyncio.sleep(rng.uniform(1.0, 3.0))  # any moment
                    await volley(crowd.devices.values(), rng)
                    mark = len(server.record.entries)
                    await server.kill()
                    await server.start()
                    await all_back(crowd, mark)
            found = await crowd.settle(within_s=60)
    judged = faults(server.record.entries)
    figures = report(judged, crowd, found)
    print(write(f"kill-{kills}-{lived.name}", {"seed": base_seed, **figures}))
    assert found == []
    assert_seen(judged, kills, who, rate_per_s)


async def all_back(crowd: Crowd, mark: int) -> None:
    """Every device has noticed the one death that is recorded after `mark`, and has caught up."""

    def back() -> bool:
        (fault,) = faults(crowd.record.entries[mark:])
        return fault.back_s.keys() == crowd.online

    await eventually(back, within_s=60, every_s=0.1)


def assert_seen(judged: list[Fault], kills: int, who: list[DeviceKey], rate_per_s: int) -> None:
    """The run counts only if the clients lived through the faults, in the middle of traffic."""
    assert [fault.return_code for fault in judged] == [-9] * kills
    assert len({pid for fault in judged for pid in (fault.pid, fault.next_pid)}) == kills + 1
    for fault in judged:
        assert fault.cut_off == set(who), "somebody did not notice"
        assert fault.codes == {""}, "a dead server says nothing"
        assert fault.sent_before > rate_per_s / 4, "hardly any traffic before it"
    assert sum(fault.unanswered for fault in judged) > 0, "no kill met a send under way"
    if kills > 3:  # few kills on a quick machine may find everything in the log already
        assert sum(fault.sent_again for fault in judged) > 0, "nothing was sent again"


def report(judged: list[Fault], crowd: Crowd, found: list[Violation]) -> dict[str, Any]:
    slowest = [max(fault.back_s.values()) for fault in judged]
    return {
        "devices": len(crowd.devices),
        "chats": len(crowd.chats),
        "groups": sum(map(is_group, crowd.chats)),
        "messages": len({(who.user_id, sent.client_message_id) for who, sent in sends(crowd)}),
        "in_groups": in_groups(crowd),
        "sent_again": sum(fault.sent_again for fault in judged),
        "unanswered_at_kills": sum(fault.unanswered for fault in judged),
        "violations": len(found),
        "ready_after_kill_s": [round((f.ready_s or 0) - f.began_s, 2) for f in judged],
        "all_back_after_kill_s": [round(each, 2) for each in slowest],
        "back_within_5_s": all(each < BACK_WITHIN_S for each in slowest),
    }


def in_groups(crowd: Crowd) -> int:
    """How many messages were sent to groups."""
    said = {(who.user_id, sent.client_message_id, sent.chat_id) for who, sent in sends(crowd)}
    return sum(is_group(chat_id) for _, _, chat_id in said)


def sends(crowd: Crowd) -> Iterator[tuple[DeviceKey, Sent]]:
    for _, who, _, what in crowd.record:
        if isinstance(what, Sent):
            yield who, what


@pytest.mark.timeout(420)
async def test_one_send_repeated_again_and_again_is_one_message(
    on: dict[str, str], tmp_path: Path, thorough: bool
) -> None:
    times = 40 if on and not thorough else 100
    alice, bob, chat = (
        DeviceKey("alice", "phone"),
        DeviceKey("bob", "phone"),
        dialog("alice", "bob"),
    )
    async with running(tmp_path, on) as server:
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        device = crowd.device(alice, [chat])
        async with crowd.connected([bob], [chat]):
            for attempt in range(times):
                if attempt % 20 == 19:
                    await restart(server, hard=attempt % 40 == 19)
                device.say(chat, TEXT, client_message_id="once")
                await device.visit()
            async with crowd.connected([alice], [chat]):
                assert await crowd.settle() == []
    mine = [entry for entry in crowd.record if entry.who == alice]
    attempts = {at.connection for at in mine if isinstance(at.what, Sent) and at.what.text == TEXT}
    acks = {
        at.what.message_id
        for at in mine
        if isinstance(at.what, Acked) and at.what.client_message_id == "once"
    }
    assert len(attempts) >= times
    assert len(acks) == 1
    assert len(faults(server.record.entries)) >= times // 20


async def restart(server: Server, *, hard: bool) -> None:
    await (server.kill() if hard else server.terminate())
    await server.start()


@pytest.mark.timeout(420)
async def test_a_drain_under_traffic_loses_nothing_and_says_why(
    lived: Lived, tmp_path: Path, rng: Random
) -> None:
    async with running(tmp_path, lived.environment) as server:
        crowd = lived.crowd(server)
        who, chats = ring(20)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), 150, rng):
                await asyncio.sleep(rng.uniform(0.5, 1.5))  # any moment
                mark = len(server.record.entries)
                assert await server.terminate() == 0
                await server.start()
                await all_back(crowd, mark)
            found = await crowd.settle(within_s=60)
    assert found == []
    drain = faults(server.record.entries)[0]
    assert drain.cut_off == set(who)
    assert "DRAINING" in drain.codes <= {"DRAINING", ""}  # a write may be in the way
    assert any(isinstance(entry.what, Closed) for entry in crowd.record)
