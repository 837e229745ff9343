"""`cecochat up --processes`: one command runs a cluster, and starts again what dies."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random

import pytest

from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.server import running
from tests.support.traffic import flowing, ring

SERVERS = {
    *("messaging-1", "messaging-2", "materialize-1", "materialize-2"),
    *("history-1", "connect-1", "control-1"),
}


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.timeout(300)
async def test_what_dies_is_started_again_and_all_ends_with_it(
    on_real: dict[str, str], tmp_path: Path, rng: Random
) -> None:
    words = ("--processes", "--servers", "history=1")
    async with running(tmp_path, on_real, words=words) as up:
        pids: dict[str, int] = up.ready["processes"]
        assert pids.keys() == SERVERS
        assert all(map(lives, pids.values()))
        crowd = Crowd(lambda: up.connect_url, up.secret_file, up.record)
        who, chats = ring(10)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), 50, rng):
                await asyncio.sleep(1)  # it flows
                os.kill(pids["messaging-1"], signal.SIGKILL)
                again = f"messaging-1 (pid {pids['messaging-1']}) ended with -9: starting it again"
                await eventually(lambda: again in up.said)
                await asyncio.sleep(5)  # it flows on
            assert await crowd.settle(within_s=60) == []
        assert await up.terminate() == 0
        left = {name for name, pid in pids.items() if lives(pid)}
        assert left == set()


@pytest.mark.timeout(300)
async def test_its_servers_end_when_it_is_killed(on_real: dict[str, str], tmp_path: Path) -> None:
    words = ("--processes", "--servers", "history=1")
    async with running(tmp_path, on_real, words=words) as up:
        pids: dict[str, int] = up.ready["processes"]
        await up.kill()
        await eventually(lambda: not any(map(lives, pids.values())), within_s=60)
