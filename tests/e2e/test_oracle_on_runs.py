"""A recorded run, corrupted in one place drawn at random: the oracle always notices."""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

from tests.support.crowd import Crowd
from tests.support.fakeserver import fake_server
from tests.support.oracle import judge
from tests.support.spoil import BY_OUR_ORACLE
from tests.support.story import Entries, History
from tests.support.texts import real_texts
from tests.support.traffic import ring

TRIES = 15


async def recorded(folder: Path, rng: Random) -> tuple[Entries, History]:
    """Eight users and their second devices, over two restarts."""
    async with fake_server(folder) as server:
        crowd = Crowd(lambda: server.connect_url, server.secret_file, transport="grpc")
        who, chats = ring(8)
        async with crowd.connected(who, chats):
            for number in range(300):
                device = crowd.devices[rng.choice(who)]
                device.say(rng.choice(device.chats), rng.choice(real_texts()))
                if number % 100 == 99:
                    await server.stop()
                    await server.start()
                await asyncio.sleep(0)
            assert await crowd.settle() == []
            return crowd.record.entries, await crowd.histories()


async def test_any_single_corruption_of_a_run_is_noticed(tmp_path: Path, rng: Random) -> None:
    entries, history = await recorded(tmp_path, rng)
    for way in BY_OUR_ORACLE:
        for attempt in range(TRIES):
            spoilt = list(entries), {chat: list(rows) for chat, rows in history.items()}
            way(*spoilt, rng)
            assert judge(*spoilt) != [], f"{way.__name__}, attempt {attempt}"
