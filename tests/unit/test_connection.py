"""A connection whatever ends it: nothing that happens to one session reaches its server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from prometheus_client import CollectorRegistry

from cecochat.adapters.embedded.keys import EmbeddedKeys
from cecochat.adapters.embedded.signals import EmbeddedSignals
from cecochat.auth.hooks import Signer
from cecochat.auth.tokens import Identity, Verifier
from cecochat.documents.follow import Following
from cecochat.domain.errors import Refusal, Trimmed
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import Place
from cecochat.domain.session import frames
from cecochat.ports.backplane import Log
from cecochat.sealing.keyring import KeyRing
from cecochat.servers.messaging.before import Asker
from cecochat.servers.messaging.blocking import Blocking
from cecochat.servers.messaging.connection import Connection
from cecochat.servers.messaging.host import Host
from cecochat.servers.messaging.metrics import MessagingMetrics
from cecochat.servers.messaging.ownership import Ownership
from cecochat.servers.messaging.server import MessagingServer
from cecochat.servers.messaging.signal_metrics import SignalMetrics
from cecochat.servers.messaging.signalling import Signalling
from cecochat.uploads.receipts import Receipts
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import Hello

GONE = Refusal(errors_pb2.ERROR_CODE_DRAINING, "go")
UNUSED: Any = None


class Line:
    """A client that says nothing, and reads while `reading` is set."""

    def __init__(self) -> None:
        self.reading = asyncio.Event()
        self.written: list[bytes] = []
        self.opened = asyncio.Event()

    async def read(self) -> bytes | None:
        self.opened.set()
        await asyncio.Event().wait()
        return None

    async def write(self, frame: bytes) -> None:
        await self.reading.wait()
        self.written.append(frame)


@pytest.fixture
def line() -> Line:
    return Line()


@pytest.fixture
async def keys(tmp_path: Path) -> AsyncIterator[KeyRing]:
    opened = await EmbeddedKeys.open(tmp_path)
    yield KeyRing(opened, b"a secret")
    await opened.close()


@pytest.fixture
def connection(line: Line, keys: KeyRing) -> Connection:
    verifier = Verifier(secret=b"a secret of at least thirty-two bytes, for tests")
    registry = CollectorRegistry()
    host = Host("server", Log(UNUSED, "log", 1), MessagingMetrics(registry))
    ownership = Ownership(host, Following(UNUSED, registry))
    signalling = Signalling(host.log, EmbeddedSignals(), SignalMetrics(registry), dict)
    receipts = Receipts(b"secret")
    asker = Asker(host.moderation, Signer(b"a secret"), host.metrics)
    server = MessagingServer(
        host, ownership, signalling, verifier, keys, receipts, asker, Blocking(UNUSED), UNUSED
    )
    identity = Identity(UserId("alice"), 1e12)
    return Connection(server, "token", identity, "server/1", line.read, line.write)


async def test_a_session_can_be_closed_while_its_stream_ends(
    connection: Connection, line: Line
) -> None:
    running = asyncio.create_task(connection.run())
    await line.opened.wait()
    running.cancel()
    while not connection.session.closed:
        await asyncio.sleep(0)
        connection.session.close(GONE)
    with pytest.raises(asyncio.CancelledError):
        await running
    connection.session.push(frames.caught_up(Place(5_000, 1)))


@pytest.mark.parametrize("steps", range(5))
async def test_at_every_step_of_the_end(connection: Connection, line: Line, steps: int) -> None:
    running = asyncio.create_task(connection.run())
    await line.opened.wait()
    running.cancel()
    for _ in range(steps):
        await asyncio.sleep(0)
    connection.session.close(GONE)
    await asyncio.wait([running])
    assert running.cancelled() or running.result() is GONE


async def test_a_client_that_reads_is_told_why(connection: Connection, line: Line) -> None:
    line.reading.set()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(connection.run())
        await line.opened.wait()
        connection.session.close(GONE, "host:1")
    assert running.result() is GONE
    assert line.written == [frames.disconnect(GONE, "host:1")]


async def test_a_client_that_does_not_read_is_left_after_a_grace(
    connection: Connection, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cecochat.servers.messaging.connection.CLOSE_GRACE_S", 0.01)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(connection.run())
        await line.opened.wait()
        connection.session.close(GONE)
    assert running.result() is GONE
    assert line.written == []


async def test_a_write_that_fails_ends_this_connection_alone(
    connection: Connection, line: Line
) -> None:
    async def fail(frame: bytes) -> None:
        raise ConnectionResetError

    connection._write = fail
    running = asyncio.create_task(connection.run())
    await line.opened.wait()
    connection.session.push(frames.caught_up(Place(5_000, 1)))
    with pytest.raises(ExceptionGroup) as failed:
        await running
    assert failed.group_contains(ConnectionResetError)
    connection.session.close(GONE)


async def test_a_resume_that_retention_overtook_makes_the_next_look_again(
    connection: Connection, line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hello(_: object) -> Hello:
        return Hello()

    async def trimmed(*_: object) -> None:
        raise Trimmed(0, 6, 5)

    partition = Mock()
    monkeypatch.setattr(Connection, "_first_frame", hello)
    monkeypatch.setattr(Connection, "_resume", trimmed)
    monkeypatch.setattr(Ownership, "partition_for", lambda *_: partition)
    line.reading.set()
    async with asyncio.timeout(60):
        refusal = await connection.run()
    assert refusal
    assert refusal.name == "unavailable"
    partition.loading.look_again.assert_called_once_with()
