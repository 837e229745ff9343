"""`cecochat up --processes`: one command runs a cluster, and starts again what dies."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import httpx
import pytest

from cecochat.client import connect
from tests.support.crowd import Crowd
from tests.support.eventually import eventually
from tests.support.listeners import kill, pid_of
from tests.support.lookout import looking
from tests.support.outages import PARTITIONS
from tests.support.rawclient import mint
from tests.support.results import write
from tests.support.scenarios import (
    GROWING,
    clean,
    grow_and_shrink,
    lose_a_server,
    lose_the_leader,
)
from tests.support.scene import stopped
from tests.support.server import command, running
from tests.support.shared import live, settled
from tests.support.traffic import flowing, ring

SERVERS = {
    *("messaging-1", "messaging-2", "materialize-1", "materialize-2"),
    *("history-1", "connect-1", "control-1", "hooks-1"),
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
                pid = pids["messaging-1"]
                again = f"messaging-1 (pid {pid}) ended with exit code -9: starting it again"
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
async def test_pages_over_http_outlive_a_history_server(
    on_real: dict[str, str], tmp_path: Path
) -> None:
    """Whoever reaches none looks up again, and is led to another."""
    words = ("--processes", "--servers", "history=2")
    async with running(tmp_path, on_real, words=words) as up:
        token = mint(up.secret_file, "alice")
        async with connect(up.connect_url, token) as alice:
            sent = await alice.send("bob", "hello")
            assert (await alice.history("bob")).messages[-1].id == sent
        headers = {"authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(headers=headers, timeout=60) as client:
            asked = {await a_page(client, up.connect_url, str(sent)) for _ in range(20)}
            assert len(asked) == 2, "they take turns"
            os.kill(up.ready["processes"]["history-1"], signal.SIGKILL)
            for _ in range(20):
                await a_page(client, up.connect_url, str(sent))


async def a_page(client: httpx.AsyncClient, connect_url: str, newest: str) -> str:
    """The URL of the history server that answered, after as many lookups as it takes."""
    async with asyncio.timeout(60):
        while True:
            lookup = await client.post(f"{connect_url}/cecochat.v1.Directory/Lookup", json={})
            with suppress(httpx.TransportError):
                url: str = lookup.json()["historyHttp"]
                path = "/cecochat.v1.History/GetMessages"
                answer = await client.post(url + path, json={"chatId": "d:alice~bob"})
                assert answer.json()["messages"][-1]["id"] == newest
                return url


@pytest.mark.timeout(300)
async def test_a_set_grows_with_the_load_and_shrinks_without(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """Servers come and go while people talk: nothing is lost, and nobody is sent away for good."""
    words = ("--processes", "--servers", "history=1", "--servers", "materialize=1")
    async with running(tmp_path, on_real, words=words, configuration=GROWING) as up:
        where = {**on_real, "CECOCHAT_DATA_DIR": up.ready["data"]}
        crowd = Crowd(lambda: up.connect_url, up.secret_file, up.record)
        numbers = await grow_and_shrink(where, crowd, rng)
    print(write("scale-local", {"seed": base_seed, "wanted": numbers}))


@pytest.mark.timeout(300)
async def test_what_an_operator_types_tells_and_does_it(
    on_real: dict[str, str], tmp_path: Path
) -> None:
    words = ("--processes", "--servers", "history=1", "--servers", "materialize=1")
    async with running(tmp_path, on_real, words=words) as up:
        where = {**on_real, "CECOCHAT_DATA_DIR": up.ready["data"]}
        await eventually(lambda: says(where, '"wrong": []', "status", "--json"), 60, 0.5)
        shown = json.loads(await command(where, "status", "--json"))
        assert shown["wrong"] == []
        assert {name: len(of) for name, of in shown["servers"].items()} == {
            **{"messaging": 2, "materialize": 1, "history": 1},
            **{"connect": 1, "control": 1, "hooks": 1},
        }
        assert shown["partitions"] == {"owned": PARTITIONS}
        assert "nothing to change" in await command(where, "control", "plan")
        await command(where, "control", "pause")
        await command(where, "config", "set", "scale.messaging.min", "3")
        await eventually(lambda: says(where, "messaging  2 -> 3", "control", "plan"), 60, 0.5)
        assert "paused" in await command(where, "control", "status")
        await command(where, "control", "resume")
        await eventually(lambda: settled(where, 3), within_s=90, every_s=0.5)
        assert "scaled messaging 2 -> 3" in await command(where, "control", "status")
        with stopped(pid_of((await live(where, "history"))[0])):  # one that dies is back soon
            await eventually(lambda: says(where, "no history server is live", "status"), 60, 0.2)
        await eventually(lambda: says(where, '"wrong": []', "status", "--json"), 60, 0.5)


async def says(where: Mapping[str, str], text: str, *words: str) -> bool:
    """Whether a command says so, with whatever code."""
    return text in await command(where, *words, code=None)


@pytest.mark.timeout(300)
async def test_servers_die_with_the_control_server_that_leads(
    on_real: dict[str, str], tmp_path: Path, rng: Random, base_seed: int
) -> None:
    """Another one leads, and gives to others what a dead server owned; nobody is sent there."""
    words = ("--processes", "--servers", "history=1", "--servers", "control=2")
    async with running(tmp_path, on_real, words=words) as up:
        where = {**on_real, "CECOCHAT_DATA_DIR": up.ready["data"]}
        crowd = Crowd(lambda: up.connect_url, up.secret_file, up.record)
        who, chats = ring(20)
        figures: dict[str, Any] = {"seed": base_seed}
        looks = looking(
            *(where["CECOCHAT_CONSUL"], where["CECOCHAT_NAMESPACE"]),
            lambda: up.connect_url,
            lambda: crowd.token(rng.choice(who).user_id),
        )
        async with crowd.connected(who, chats), looks as lookout:
            async with flowing(list(crowd.devices.values()), 100, rng):
                figures["led_again_s"] = await lose_the_leader(where, kill)
                figures["killed"] = await lose_a_server(where, crowd, rng, kill)
            await clean(crowd)
    lookout.judged()
    figures |= lookout.figures()
    print(write("leader-local", figures))
