"""A run under kills, judged by our oracle and by Porcupine: both see that it is good, and both find
what is then broken in what was recorded.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from random import Random

import pytest

from scripts.backends import porcupine
from tests.faults.test_kill import all_back
from tests.support import kept
from tests.support.backends import Backends
from tests.support.crowd import Crowd
from tests.support.evidence import faults
from tests.support.oracle import judge
from tests.support.porcupine import Reading, ask, history_of
from tests.support.server import running
from tests.support.spoil import BY_BOTH
from tests.support.story import Entries, History
from tests.support.traffic import flowing, ring, volley

RATE_PER_S = 150


@pytest.mark.timeout(300)
async def test_both_judges_find_what_is_broken_in_a_real_run(
    backends: Backends, tmp_path: Path, rng: Random
) -> None:
    program = porcupine.here() or backends.absent("porcupine")
    entries, history = await recorded_under_kills(tmp_path, rng)
    assert (kept.folder() / "history.jsonl").stat().st_size > 1_000_000, "it was not judged"
    for way in BY_BOTH:
        spoilt = list(entries), {chat: list(rows) for chat, rows in history.items()}
        way(*spoilt, rng)
        assert judge(*spoilt) != [], way.__name__
        assert await unexplained(program, *spoilt, tmp_path) != [], way.__name__


async def recorded_under_kills(folder: Path, rng: Random) -> tuple[Entries, History]:
    async with running(folder) as server:
        crowd = Crowd(lambda: server.connect_url, server.secret_file, server.record)
        who, chats = ring(20)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), RATE_PER_S, rng):
                for _ in range(2):
                    await asyncio.sleep(rng.uniform(1.0, 2.0))  # any moment
                    await volley(crowd.devices.values(), rng)
                    mark = len(server.record.entries)
                    await server.kill()
                    await server.start()
                    await all_back(crowd, mark)
            assert await crowd.settle(within_s=60) == []
            history = await crowd.histories()
    assert len(faults(crowd.record.entries)) == 2
    return crowd.record.entries, history


async def unexplained(program: Path, entries: Entries, history: History, folder: Path) -> list[str]:
    end = len(entries)
    readings = [Reading(end, end, chat_id, rows) for chat_id, rows in history.items()]
    devices = {entry.who for entry in entries}
    return await ask(program, history_of(entries, readings, devices), folder / "spoilt.jsonl")
