"""`cecochat up --processes`: one command runs a cluster, and starts again what dies."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.results import write
from tests.support.server import Server, running
from tests.support.shared import settled
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


@pytest.mark.timeout(300)
async def test_a_set_grows_with_the_load_and_shrinks_without(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """Servers come and go while people talk: nothing is lost, and nobody is sent away for good."""
    configuration = {"scale.messaging.target": 8.0, "scale.messaging.cooldown_s": 1.0}
    words = ("--processes", "--servers", "history=1", "--servers", "materialize=1")
    async with running(tmp_path, on_real, words=words, configuration=configuration) as up:
        where = {**on_real, "CECOCHAT_DATA_DIR": up.ready["data"]}
        crowd = Crowd(lambda: up.connect_url, up.secret_file, up.record)
        who, chats = ring(25)  # 30 devices: 4 servers of 8
        async with crowd.connected(who[:5], chats):
            async with crowd.connected(who[5:], chats):
                async with flowing(list(crowd.devices.values()), 50, rng):
                    await eventually(lambda: settled(where, 4), within_s=90, every_s=0.5)
                await crowd.answered()  # whoever leaves has an answer to all that it sent
            few = [crowd.devices[each] for each in who[:5]]
            async with flowing(few, 10, rng):
                await eventually(lambda: settled(where, 2), within_s=120, every_s=0.5)
            found = await crowd.settle(within_s=60, absent=who[5:])
        decisions = await decided(up)
    print("\n".join(map(str, found[:20])))
    assert found == []
    wanted = [2, *(each["to"] for each in decisions if each["kind"] == "scaled")]
    print(write("scale-local", {"seed": base_seed, "wanted": wanted}))
    top = wanted.index(4)
    assert wanted[: top + 1] == sorted(wanted[: top + 1])
    assert wanted[top:] == [4, 3, 2]


async def decided(up: Server) -> list[dict[str, Any]]:
    """What control has decided, oldest first."""
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{up.ready['health']['control-1']}/decisions")
    decisions: list[dict[str, Any]] = answer.json()["decisions"]
    return decisions[::-1]
