"""Streams that are not as they should be: huge, silent, half-closed, dropped, far too many."""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from cecochat.adapters.embedded.configuration import EmbeddedConfiguration
from cecochat.domain.session.session import Session
from cecochat.run import system
from cecochat.servers.messaging import connection
from cecochat.servers.messaging.connection import Connection
from cecochat.servers.messaging.transport import websocket as over_websocket
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Send, ServerFrame
from tests.support.eventually import eventually
from tests.support.hostile import (
    bearer,
    channel,
    inside,
    judge_text,
    metric,
    minted,
    opened,
    talk,
    to_the_end,
)
from tests.support.mutate import FIRST_OFFSET, FRAME_MAX_BYTES, SENDS_MAX, hello, tag, varint
from tests.support.pipes import GrpcPipe, Pipe, PipeClosed, TransportName, WebSocketPipe
from tests.support.talks import talks_to

TRANSPORT_MAX_BYTES = 256 << 10
HELD_BY_GRPC = 8
"""Sessions and connections that grpc.aio keeps of the calls it ended last; they never get more."""
CHAT = "d:alice~bob"


ADMITTED = "admitted"


def known(addresses: system.Addresses, user: str = "alice") -> str:
    assert addresses.token_secret_file
    return minted(addresses.token_secret_file, sub=user)


def sends(count: int) -> bytes:
    frame = ClientFrame(offset=FIRST_OFFSET)
    for number in range(count):
        send = frame.sends.add(client_message_id=str(number), chat_id=CHAT)
        send.message.text = "x"
    return frame.SerializeToString()


async def test_frames_at_and_over_the_limits(tmp_path: Path, transport: TransportName) -> None:
    async with inside(tmp_path) as addresses, talks_to(addresses, transport) as made:
        await follow_no_limits(addresses, tmp_path)
        token = known(addresses)
        for size, code in ((-1, ""), (0, ""), (1, "TOO_LARGE"), (100_000, "TOO_LARGE")):
            frame = of_size(FRAME_MAX_BYTES + size)
            answer = await made.talk(token, [hello(), frame], leave="" if code else "caught_up")
            if transport == "websocket" and code and answer.made_up:
                continue  # it was reset while the rest of the frame was under way
            assert ("" if answer.judged().well else answer.code) == code
        answer = (await made.talk(token, [hello(), sends(SENDS_MAX)], leave="ack")).judged()
        assert answer.well
        answer = await made.talk(token, [hello(), sends(SENDS_MAX + 1)])
        assert answer.judged().code == "TOO_LARGE"


def of_size(size: int) -> bytes:
    """A frame of exactly so many bytes, all in a field that nobody knows."""
    head = tag(15, 2) + varint(size - 4)
    frame = head + bytes(size - len(head))
    assert len(head) == 4
    assert ClientFrame.FromString(frame).sends == []
    return frame


async def test_a_frame_of_10_mb_is_refused_by_the_transport(tmp_path: Path) -> None:
    """gRPC itself refuses what is over 256 KiB, before it is read: no trailer of ours, but a status
    and a message that names both sizes. (Over WebSocket see tests/hostile/test_websocket.py.)
    """
    async with inside(tmp_path) as addresses, channel(addresses.messaging) as made:
        metadata = bearer(known(addresses))
        for size in (TRANSPORT_MAX_BYTES + 1, 10 << 20):
            for frames in ([bytes(size)], [hello(), bytes(size)]):
                answer = await talk(made, metadata, frames, leave=False)
                assert answer.status is grpc.StatusCode.RESOURCE_EXHAUSTED, answer
                assert f"{size} vs. {TRANSPORT_MAX_BYTES}" in answer.details
                judge_text(answer.details)
        assert (await talk(made, metadata, [hello()])).well
        await nothing_left(addresses)


async def test_who_never_says_hello_is_sent_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transport: TransportName
) -> None:
    monkeypatch.setattr(connection, "HELLO_TIMEOUT_S", 0.3)
    monkeypatch.setattr(over_websocket, "HELLO_TIMEOUT_S", 0.3)
    async with inside(tmp_path) as addresses, talks_to(addresses, transport) as made:
        async with asyncio.TaskGroup() as group:
            streams = [
                group.create_task(made.talk(known(addresses, f"user-{n}"), [])) for n in range(100)
            ]
        for stream in streams:
            assert stream.result().judged().code == "TIMEOUT"
        await nothing_left(addresses)


async def test_a_half_closed_stream_ends_well_and_gets_what_is_due(tmp_path: Path) -> None:
    """A WebSocket has no half: its close frame ends both."""
    async with inside(tmp_path) as addresses, channel(addresses.messaging) as made:
        metadata = bearer(known(addresses))
        answer = (await talk(made, metadata, [hello()])).judged()
        assert [item.WhichOneof("item") for item in answer.items] == ["welcome", "caught_up"]
        assert answer.well
        assert (await talk(made, metadata, [])).judged().code == "PROTOCOL"
        await nothing_left(addresses)


async def test_streams_that_are_dropped_leave_nothing(
    tmp_path: Path, rng: Random, caplog: pytest.LogCaptureFixture, transport: TransportName
) -> None:
    """Cancelled at any moment: before the hello, while catching up, with sends under way."""
    tasks = len(asyncio.all_tasks())
    async with inside(tmp_path) as addresses:
        await follow_no_limits(addresses, tmp_path)
        running = len(asyncio.all_tasks())
        async with openings(addresses, transport) as opening, asyncio.TaskGroup() as group:
            for number in range(400):
                group.create_task(drop(opening, known(addresses, f"user-{number % 40}"), rng))
        await nothing_left(addresses)
        await eventually(lambda: len(asyncio.all_tasks()) <= running)
    assert len(asyncio.all_tasks()) <= tasks
    assert [each for each in caplog.records if each.levelname in ("ERROR", "CRITICAL")] == []


@asynccontextmanager
async def openings(
    addresses: system.Addresses, transport: TransportName
) -> AsyncIterator[Callable[[str], Awaitable[Pipe]]]:
    """What opens a stream with a token: over gRPC, all of them on one connection."""
    if transport == "websocket":
        yield lambda token: WebSocketPipe.open(addresses.websocket, token)
        return
    async with channel(addresses.messaging) as made:

        async def opening(token: str) -> Pipe:
            return GrpcPipe(made, token)

        yield opening


async def drop(opening: Callable[[str], Awaitable[Pipe]], token: str, rng: Random) -> None:
    pipe = await opening(token)
    with suppress(PipeClosed, asyncio.CancelledError):
        frames = (ClientFrame(hello=Hello()), sends(20), sends(20))[: rng.randint(0, 3)]
        for frame in frames:
            await pipe.write(frame)
        if frames and rng.random() < 0.5:
            await pipe.read()
    await pipe.close()


@pytest.mark.timeout(1_500)
async def test_hundreds_of_connects_are_slowed_down_by_user(
    tmp_path: Path, transport: TransportName
) -> None:
    """One user is told how long to wait; another is served all the while."""
    async with inside(tmp_path) as addresses, talks_to(addresses, transport) as made:
        told: Counter[str] = Counter()
        limit = asyncio.Semaphore(50)  # each refusal is held for a moment

        async def connect() -> None:
            async with limit:
                answer = await made.talk(known(addresses), [hello()], leave="caught_up")
            code = ADMITTED if answer.judged().well else answer.code
            told[code] += 1
            if code == "RATE_LIMITED":
                assert answer.error is not None
                assert answer.error.retriable
                assert 0 < answer.error.retry_after_ms <= 2_000

        began_s = time.monotonic()
        async with asyncio.timeout(1_200), asyncio.TaskGroup() as group:
            for _ in range(400):
                group.create_task(connect())
            for _ in range(10):
                answer = await made.talk(known(addresses, "bob"), [hello()], leave="caught_up")
                assert answer.judged().well
        assert set(told) <= {"RATE_LIMITED", "TOO_MANY_SESSIONS", ADMITTED}
        assert told["RATE_LIMITED"]
        assert told[ADMITTED] <= 60 + (time.monotonic() - began_s) + 1, "more than burst and rate"
        await nothing_left(addresses)


async def test_a_body_hides_nothing_from_its_limit(tmp_path: Path) -> None:
    """What nobody knows inside a message is no way to carry more than a text may hold. (On any
    transport: this is behind it.)
    """
    async with inside(tmp_path) as addresses, channel(addresses.messaging) as made:
        hidden = tag(15, 2) + varint(60_000) + bytes(60_000)
        text = tag(1, 2) + b"\x02hi"
        message = tag(10, 2) + varint(len(text + hidden)) + text + hidden
        head = Send(client_message_id="1", chat_id=CHAT).SerializeToString()
        send = tag(3, 2) + varint(len(head + message)) + head + message
        bob = opened(made, bearer(known(addresses, "bob")))
        await bob.write(ClientFrame(hello=Hello()).SerializeToString())
        await until(bob, "caught_up")
        alice = opened(made, bearer(known(addresses)))
        await alice.write(hello())
        await until(alice, "caught_up")
        await alice.write(ClientFrame(offset=FIRST_OFFSET).SerializeToString() + send)
        await until(alice, "ack")
        delivered = await until(bob, "delivered")
        assert delivered.delivered.event.message.text == "hi"
        assert delivered.ByteSize() < 1_000
        for call in (alice, bob):
            await call.done_writing()
            await to_the_end(call)


async def until(call: Any, kind: str) -> Any:
    """The next item of that kind."""
    async with asyncio.timeout(20):
        while isinstance(frame := await call.read(), ServerFrame):
            for item in frame.items:
                if item.WhichOneof("item") == kind:
                    return item
    raise AssertionError(f"the stream ended before {kind}")


async def follow_no_limits(addresses: system.Addresses, folder: Path) -> None:
    keys = {"connects.burst": 100_000, "sends.burst": 100_000, "sends.rate_per_user": 100_000}
    configuration = await EmbeddedConfiguration.open(folder)
    await configuration.put("configuration", keys, expected=0, by="test")
    await configuration.close()
    url = addresses.health["messaging"]
    await poll(lambda: metric(url, "cecochat_configuration_version"))


async def nothing_left(addresses: system.Addresses) -> None:
    """All sessions are gone, by the metric and from the memory of this very process."""
    url = addresses.health["messaging"]

    async def gone() -> bool:
        return not await metric(url, "cecochat_sessions") and few_in_memory()

    await poll(gone)


def few_in_memory() -> bool:
    gc.collect()
    held = sum(isinstance(each, Session | Connection) for each in gc.get_objects())
    return held <= HELD_BY_GRPC


async def poll(holds: Callable[[], Awaitable[object]]) -> None:
    """Wait for what another server says over HTTP."""
    async with asyncio.timeout(20):
        while not await holds():  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)
