"""Connections that are ended from under gRPC."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

import pytest

from cecochat.runtime import hangup
from cecochat.runtime.hangup import SHARE, HangUp
from tests.support.eventually import eventually

WITHIN_S = 10.0


@contextmanager
def connected(host: str, listening: str, *, dual: bool) -> Iterator[tuple[socket.socket, int]]:
    """A client, and its port. The other end stays open beside it."""
    family = socket.AF_INET6 if ":" in listening else socket.AF_INET
    with ExitStack() as stack:
        server = stack.enter_context(
            socket.create_server((listening, 0), family=family, dualstack_ipv6=dual)
        )
        client = stack.enter_context(socket.create_connection((host, server.getsockname()[1])))
        accepted, _ = server.accept()
        stack.enter_context(accepted)
        client.setblocking(False)
        yield client, client.getsockname()[1]


@pytest.mark.parametrize(
    ("host", "listening", "dual", "peer"),
    [
        ("127.0.0.1", "127.0.0.1", False, "ipv4:127.0.0.1:{}"),
        ("127.0.0.1", "::", True, "ipv4:127.0.0.1:{}"),
        ("127.0.0.1", "::", True, "ipv6:%5B::ffff:127.0.0.1%5D:{}"),
        ("::1", "::1", False, "ipv6:%5B::1%5D:{}"),
    ],
)
async def test_the_one_that_is_named_ends(host: str, listening: str, dual: bool, peer: str) -> None:
    if ":" in listening and not socket.has_dualstack_ipv6():
        pytest.skip("this machine has no IPv6")
    with (
        connected(host, listening, dual=dual) as (client, port),
        connected(host, listening, dual=dual) as (other, _),
    ):
        hanging_up = HangUp()
        hanging_up.on("unix:/tmp/nobody")
        hanging_up.on(peer.format(port))
        hanging_up.on(peer.format(port))
        async with asyncio.timeout(WITHIN_S):
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
        with pytest.raises(BlockingIOError):
            other.recv(1)


@pytest.mark.parametrize("opening", ["scandir", "dup"])
async def test_it_tries_again_if_no_file_can_be_opened(
    opening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_open, has_failed = getattr(os, opening), asyncio.Event()

    def open_file(file: str | int) -> object:
        if has_failed.is_set():
            return may_open(file)
        has_failed.set()
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, opening, open_file)
    monkeypatch.setattr(hangup, "AGAIN_S", 0.01)
    with connected("127.0.0.1", "127.0.0.1", dual=False) as (client, port):
        HangUp().on(f"ipv4:127.0.0.1:{port}")
        async with asyncio.timeout(WITHIN_S):
            await has_failed.wait()
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""


async def test_it_looks_for_sockets_for_a_small_part_of_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_s: list[float] = []
    takes_s = 0.01

    def connected_slowly() -> Iterator[socket.socket]:
        looked_s.append(time.monotonic())
        time.sleep(takes_s)
        return iter(())

    monkeypatch.setattr(hangup, "_connected", connected_slowly)
    hanging_up = HangUp()
    for count in (1, 2, 3):
        hanging_up.on("ipv4:127.0.0.1:1")
        await eventually(lambda count=count: len(looked_s) == count)  # type: ignore[misc]
    assert all(after - before >= takes_s / SHARE for before, after in pairwise(looked_s))
