"""Blocks of headers of 8 KB that a server takes 16 MB for, several times over, without a token."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cecochat.client import Client, Message, connect
from tests.bench.meter import peak_bytes
from tests.hostile.http2 import GOAWAY, bomb, late_bomb, long_bomb, peer
from tests.support.backends import Backends
from tests.support.edge import behind_an_edge
from tests.support.eventually import eventually
from tests.support.rawclient import mint
from tests.support.server import running

PATHS = {
    "messaging": "/cecochat.v1.Messaging/Chat",
    "history": "/cecochat.v1.History/GetMessages",
}
LIMIT_BYTES = 512 << 20
"""What a deployment gives a server: jobs/messaging.nomad.hcl."""
BLOCKS = 12
CONNECTIONS = 50
NOT_MOVED_BYTES = 16 << 20
ENDED_WITHIN_S = DELIVERED_WITHIN_S = 60.0


async def attack(
    address: str,
    path: str,
    pid: int,
    make: Callable[[str, int], bytes] = bomb,
    patience_s: float = 0.3,
) -> tuple[int, bytes]:
    """Send the blocks, until the connection is ended or the server is past its memory limit; how
    many were sent, and what was answered. It has so long to end it after each.
    """
    async with peer(address) as attacker:
        for number in range(BLOCKS):
            try:
                await attacker.say(make(path, 2 * number + 1))
            except ConnectionError:
                return number, attacker.heard
            with suppress(AssertionError):
                await eventually(lambda: attacker.ended, patience_s)
            if attacker.ended or peak_bytes(pid) > LIMIT_BYTES:
                return number + 1, attacker.heard
    return BLOCKS, attacker.heard


@pytest.mark.parametrize("service", PATHS)
async def test_a_server_without_an_edge_passes_its_memory_limit(
    service: str, tmp_path: Path
) -> None:
    """Why there is an edge. Where this fails, gRPC bounds it by itself: look at ADR 0100 again."""
    async with running(tmp_path) as server:
        before = peak_bytes(server.pid)
        await attack(server.ready[service], PATHS[service], server.pid)
        grown = peak_bytes(server.pid) - before
        assert grown > 100 << 20, f"{grown >> 20} MiB for {BLOCKS} blocks"


@pytest.mark.parametrize("make", [bomb, long_bomb, late_bomb])
async def test_through_the_edge_the_memory_does_not_move_and_others_chat(
    make: Callable[[str, int], bytes], tmp_path: Path, backends: Backends
) -> None:
    async with behind_an_edge(tmp_path, backends) as (server, edge):
        tokens = [mint(server.secret_file, user) for user in ("alice", "bob")]
        url = server.connect_url
        async with connect(url, tokens[0]) as alice, connect(url, tokens[1]) as bob:
            await said(alice, bob, "before")
            before = peak_bytes(server.pid)
            async with asyncio.TaskGroup() as group:
                attacks = [
                    group.create_task(attack(edge.address, path, server.pid, make, ENDED_WITHIN_S))
                    for path in PATHS.values()
                    for _ in range(CONNECTIONS)
                ]
                await said(alice, bob, "during")
            assert peak_bytes(server.pid) - before < NOT_MOVED_BYTES
            assert sum(map(peak_bytes, edge.pids)) < 64 << 20
            for task in attacks:
                blocks, heard = task.result()
                assert blocks <= 2, "the first block ends the connection"
                assert heard.find(bytes([GOAWAY])) > 0
            await said(alice, bob, "after")


async def said(one: Client, other: Client, text: str) -> None:
    """One says it, and the other gets it."""
    async with asyncio.timeout(DELIVERED_WITHIN_S):
        await one.send(other.user_id, text)
        async for event in other:
            if isinstance(event, Message) and event.text == text:
                return
