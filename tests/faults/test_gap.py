"""Who comes back too late is told so, and finds all of it in the history."""

from __future__ import annotations

import asyncio
from itertools import cycle
from pathlib import Path
from random import Random

import pytest

from tests.faults.test_groups import DEVICES, Life, People, until_right
from tests.support.crowd import Crowd
from tests.support.records import CaughtUp, Delivered, DeviceKey, GapFilled, GapTold, dialog, group
from tests.support.server import SHORT_RETENTION, running
from tests.support.texts import real_texts

ALICE, BOB = DeviceKey("alice", "phone"), DeviceKey("bob", "phone")
AB, US = dialog("alice", "bob"), group("alice", "bob")
CHATS = (AB, US)
APART = {"CECOCHAT_PARTITIONS": "3"}
"""With so many, the group has its home where none of them lives."""
ABSENCES_S = (13, 15, 30)  # a log is trimmed every 10 s
PER_S = 300


@pytest.mark.timeout(420)
async def test_a_gap_is_told_and_the_history_holds_all_of_it(tmp_path: Path) -> None:
    async with running(tmp_path, environment=SHORT_RETENTION | APART) as server:
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        async with crowd.connected([ALICE], CHATS):
            async with crowd.connected([BOB], CHATS):
                crowd.devices[ALICE].say(AB, "before he leaves")
                await crowd.answered()
            for absence_s in ABSENCES_S:
                await talk(crowd, absence_s)
                async with crowd.connected([BOB], CHATS):
                    pass
                if happened(crowd, GapTold):
                    break
            async with crowd.connected([BOB], CHATS):
                assert await crowd.settle() == []
        assert happened(crowd, GapTold), f"no gap: {server.said[-2_000:]}"
    later = [type(entry.what) for entry in crowd.record if entry.who == BOB]
    later = later[later.index(GapTold) :]
    assert later[:2] == [GapTold, GapFilled]
    assert CaughtUp in later
    assert Delivered in later


@pytest.mark.timeout(420)
async def test_who_was_away_too_long_reads_what_came_while_they_belonged(
    tmp_path: Path, rng: Random
) -> None:
    """Members come and go meanwhile, they themselves among them."""
    async with running(tmp_path, environment=SHORT_RETENTION | APART) as server:
        people = People(lambda: server.connect_url, server.secret_file, server.record)
        life = Life(people, rng, reads=False)  # receipts that the log has lost are nowhere
        async with people.connected(DEVICES, ()):
            await life.found()
            absent = rng.sample([each for each in people.members if not life.owns(each)], 5)
            async with asyncio.TaskGroup() as tasks:
                living = tasks.create_task(life.goes_on(PER_S))
                for absence_s in ABSENCES_S:
                    await asyncio.gather(*(each.stays_away(absence_s) for each in absent))
                    await people.all_back()
                    if happened(people, GapTold):
                        break
                living.cancel()
            await life.ends()
            groups = await until_right(people)
        assert happened(people, GapTold), f"no gap: {server.said[-2_000:]}"
    stays = [stay for each in groups.values() for of in each.stays.values() for stay in of]
    assert len(stays) > 30, "hardly anybody came or went"


async def talk(crowd: Crowd, seconds: int) -> None:
    """Bob is away and misses some hundred messages a second (a log is dropped in large pieces)."""
    for second in range(seconds):
        texts = real_texts()[second * PER_S : (second + 1) * PER_S]
        for text, chat_id in zip(texts, cycle(CHATS), strict=False):
            crowd.devices[ALICE].say(chat_id, text)
        await crowd.answered()
        await asyncio.sleep(1)  # retention is a matter of time


def happened(crowd: Crowd, kind: type[object]) -> bool:
    return any(isinstance(entry.what, kind) for entry in crowd.record)
