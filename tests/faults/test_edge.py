"""The edge of a machine with several servers: it follows those that come and go."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

import pytest

from cecochat.client import ChatError, find_route
from tests.support.backends import Backends
from tests.support.crowd import Crowd
from tests.support.edge import edge, free_address
from tests.support.eventually import eventually
from tests.support.server import running
from tests.support.shared import live, settled
from tests.support.traffic import flowing, ring

WORDS = ("--processes", "--servers", "messaging=2", "--servers", "history=1")


@pytest.mark.timeout(300)
async def test_each_server_is_found_through_its_port_and_the_next_one_too(
    on_real: dict[str, str], tmp_path: Path, rng: Random, backends: Backends
) -> None:
    address = free_address()
    settings = on_real | {"CECOCHAT_EDGE": address}
    async with (
        edge(address, tmp_path / "edge", backends, settings) as front,
        running(tmp_path, settings, words=WORDS) as up,
    ):
        await eventually(lambda: settled(settings, 2), within_s=60, every_s=0.2)
        crowd = Crowd(lambda: up.connect_url, up.secret_file, up.record)
        who, chats = ring(10)
        await eventually(lambda: reaches(up.connect_url, crowd.token(who[0].user_id)), every_s=0.2)
        host, _, port = address.rpartition(":")
        both = {address, f"{host}:{int(port) + 1}"}

        async def both_are_told() -> bool:
            tokens = [crowd.token(each.user_id) for each in who]
            try:
                routes = [await find_route(up.connect_url, token) for token in tokens]
            except ChatError:
                return False
            assert {route.history for route in routes} == {address}
            return {route.messaging for route in routes} == both

        await eventually(both_are_told, within_s=60, every_s=0.2)
        async with crowd.connected(who, chats):
            async with flowing(list(crowd.devices.values()), 50, rng):
                await asyncio.sleep(1)  # it flows
                os.kill(up.ready["processes"]["messaging-1"], signal.SIGKILL)
                await asyncio.sleep(10)  # it flows on, and the next one takes partitions
            assert await crowd.settle(within_s=60) == []
        await eventually(both_are_told, within_s=60, every_s=0.5)
        assert all(each.behind for each in await live(settings, "messaging"))
        assert "uses a new configuration" in front.said
        assert urlsplit(up.connect_url).netloc == address


async def reaches(url: str, token: str) -> bool:
    """Whether the edge leads to a connect server yet."""
    try:
        await find_route(url, token)
    except ChatError:
        return False
    return True
