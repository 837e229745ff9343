"""Somebody who does one thing as fast as the server lets it: `python -m tests.hostile.flooding`.

A process of its own, so that what it costs to flood is not what others are seen to wait. It prints
how often the server has answered, refusals among them, or taken something.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import grpc
import httpx

from cecochat.v1.history_pb2 import (
    FindMessageRequest,
    GetChatsRequest,
    GetMessagesRequest,
    SearchMessagesRequest,
)
from cecochat.v1.messaging_pb2 import (
    ClientFrame,
    Hello,
    Position,
    ServerFrame,
    TypingIn,
    Watch,
)
from tests.hostile import http2
from tests.hostile.answers import ask, close_window
from tests.hostile.silence import TRICKLING, Trickling, idle
from tests.support.pipes import CHAT, CONNECTION_OF_ITS_OWN
from tests.support.records import dialog

VICTIM = "victim"
SEARCHED = "words"
AT_ONCE = 64  # calls and lookups; streams are as many as a user may have
SESSIONS = 16
CALLS_EACH = 100  # of a connection
UNREAD, WITHOUT_BODY, IDLE = 300, 10_000, 5_000
GET_MESSAGES = "/cecochat.v1.History/GetMessages"


@dataclass
class Flood:
    """`count`: how often the server has answered or taken something. `token`: of `user`, and as it
    should be.
    """

    connect: str  # URL
    messaging: str
    history: str
    user: str
    token: str
    until_s: float
    count: int = 0

    @property
    def messages(self) -> GetMessagesRequest:
        return GetMessagesRequest(chat_id=dialog(self.user, VICTIM), limit=200)

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until_s

    async def over(self) -> None:
        await asyncio.sleep(max(0.0, self.until_s - time.monotonic()))

    async def each(self, count: int, one: Callable[[], Awaitable[object]]) -> None:
        """So many at once who do it one time after the other, until it is over."""

        async def forever() -> None:
            while self.goes_on:
                with suppress(grpc.aio.AioRpcError, httpx.HTTPError):
                    await one()
                self.count += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(forever())


def channel(address: str) -> grpc.aio.Channel:
    return grpc.aio.insecure_channel(address, options=CONNECTION_OF_ITS_OWN)


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token}"),)


# -- calls


async def lookups(flood: Flood, token: str) -> None:
    limits, headers = httpx.Limits(max_connections=AT_ONCE), dict(bearer(token))
    async with httpx.AsyncClient(limits=limits, headers=headers, timeout=30) as client:
        await flood.each(AT_ONCE, lambda: client.get(f"{flood.connect}/v1/connect"))


async def calls(flood: Flood, call: str, request: bytes, token: str) -> None:
    async with channel(flood.history) as opened:
        method: Any = opened.unary_unary(f"/cecochat.v1.History/{call}")
        await flood.each(AT_ONCE, lambda: method(request, metadata=bearer(token), timeout=30))


async def unread(flood: Flood) -> None:
    """Answers that nobody reads."""
    async with http2.peer(flood.history) as held:
        await close_window(held)
        for number in range(UNREAD):
            await ask(held, "GetMessages", flood.token, flood.messages, 2 * number + 1)
        flood.count = UNREAD
        await flood.over()


async def without_body(flood: Flood) -> None:
    """Calls that say neither a token nor a request, each open for as long as the server likes."""
    headers = http2.call(GET_MESSAGES)
    async with AsyncExitStack() as stack:
        for _ in range(WITHOUT_BODY // CALLS_EACH):
            held = await stack.enter_async_context(http2.peer(flood.history))
            streams = range(1, 2 * CALLS_EACH, 2)
            await held.say(
                b"".join(
                    http2.frame(http2.HEADERS, headers, stream, http2.END_HEADERS)
                    for stream in streams
                )
            )
            flood.count += len(streams)
        await flood.over()


# -- streams


async def streams(flood: Flood) -> None:
    """Each says hello and leaves."""
    async with channel(flood.messaging) as opened:

        async def one() -> None:
            call: Any = opened.stream_stream(CHAT)(metadata=bearer(flood.token))
            await call.write(ClientFrame(hello=Hello()).SerializeToString())
            await call.read()
            call.cancel()

        await flood.each(AT_ONCE, one)


async def frames(flood: Flood, made: Callable[[Flood], bytes]) -> None:
    """One after the other on each of the streams that a user may have, and what comes is read."""
    async with channel(flood.messaging) as opened, asyncio.TaskGroup() as group:
        for _ in range(SESSIONS):
            group.create_task(session(flood, opened, made))


async def session(flood: Flood, opened: grpc.aio.Channel, made: Callable[[Flood], bytes]) -> None:
    call: Any = opened.stream_stream(CHAT)(metadata=bearer(flood.token))
    reading = asyncio.create_task(read(call))
    with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError, TimeoutError):
        async with asyncio.timeout(flood.until_s - time.monotonic()):
            await call.write(ClientFrame(hello=Hello()).SerializeToString())
            while flood.goes_on:
                await call.write(made(flood))
                flood.count += 1
    call.cancel()
    await asyncio.wait([reading])


async def read(call: Any) -> None:
    with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        while await call.read() is not grpc.aio.EOF:
            pass


def renewal(flood: Flood) -> bytes:
    return ClientFrame(renewed_token=flood.token).SerializeToString()


def typing(flood: Flood) -> bytes:
    """Of as many users as there can be: what is refused is answered."""
    peer = VICTIM if flood.count % 2 else "nobody~at-all"
    return ClientFrame(
        typing=TypingIn(chat_id=dialog(flood.user, peer), active=bool(flood.count % 3))
    ).SerializeToString()


def watches(flood: Flood) -> bytes:
    """Each of other users than the one before."""
    peers = (f"peer{flood.count}x{number}" for number in range(64))
    watch = Watch(chat_ids=[dialog(flood.user, peer) for peer in peers])
    return ClientFrame(watch=watch, invisible=bool(flood.count % 2)).SerializeToString()


def sends(flood: Flood) -> bytes:
    frame, chat_id = ClientFrame(), dialog(flood.user, VICTIM)
    for number in range(256):
        send = frame.sends.add(client_message_id=f"{flood.count}.{number}", chat_id=chat_id)
        send.message.text = "x" * 100
    return frame.SerializeToString()


async def replays(flood: Flood) -> None:
    """Each stream is brought all that the log holds, and when it is, another one."""
    async with channel(flood.messaging) as opened:
        begun = await welcomed(opened, flood)

        async def one() -> None:
            call: Any = opened.stream_stream(CHAT)(metadata=bearer(flood.token))
            hello = Hello(position=Position(log_id=begun.log_id, partition=begun.partition))
            await call.write(ClientFrame(hello=hello).SerializeToString())
            with suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, flood.until_s - time.monotonic())):
                    while (frame := await call.read()) is not grpc.aio.EOF:
                        flood.count += 1
                        items = ServerFrame.FromString(frame).items
                        if items[-1].HasField("caught_up"):
                            break
            call.cancel()

        await flood.each(SESSIONS, one)


async def welcomed(opened: grpc.aio.Channel, flood: Flood) -> Position:
    call: Any = opened.stream_stream(CHAT)(metadata=bearer(flood.token))
    await call.write(ClientFrame(hello=Hello()).SerializeToString())
    frame = ServerFrame.FromString(await call.read())
    call.cancel()
    return frame.items[0].welcome.position


# -- connections


async def trickling(flood: Flood) -> None:
    url = urlsplit(flood.connect)
    those = [Trickling() for _ in range(TRICKLING)]
    tasks = [asyncio.create_task(one.run(str(url.hostname), url.port or 80)) for one in those]
    flood.count = len(those)
    await flood.over()
    for task in tasks:
        task.cancel()


async def silent(flood: Flood) -> None:
    url = urlsplit(flood.connect)
    async with idle(str(url.hostname), url.port or 80, IDLE):
        flood.count = IDLE
        await flood.over()


Kind = Callable[[Flood], Coroutine[Any, Any, None]]
WRONG = "e30.e30.e30"

WITH_A_TOKEN: dict[str, Kind] = {
    "lookups": lambda flood: lookups(flood, flood.token),
    "streams": streams,
    "empty frames": partial(frames, made=lambda _: b""),
    "renewals": partial(frames, made=renewal),
    "sends": partial(frames, made=sends),
    "typing": partial(frames, made=typing),
    "watches": partial(frames, made=watches),
    "replays": replays,
    "GetMessages": lambda flood: calls(
        flood, "GetMessages", flood.messages.SerializeToString(), flood.token
    ),
    "GetChats": lambda flood: calls(
        flood, "GetChats", GetChatsRequest().SerializeToString(), flood.token
    ),
    "FindMessage": lambda flood: calls(
        flood,
        "FindMessage",
        FindMessageRequest(message_id=1 << 40).SerializeToString(),
        flood.token,
    ),
    "SearchMessages": lambda flood: calls(
        flood,
        "SearchMessages",
        SearchMessagesRequest(text=SEARCHED).SerializeToString(),
        flood.token,
    ),
    "unread answers": unread,
}
WITHOUT_ONE: dict[str, Kind] = {
    "lookups, wrong token": lambda flood: lookups(flood, WRONG),
    "calls, wrong token": lambda flood: calls(
        flood, "GetMessages", flood.messages.SerializeToString(), WRONG
    ),
    "calls without a body": without_body,
    "trickling connections": trickling,
    "idle connections": silent,
}
KINDS = WITH_A_TOKEN | WITHOUT_ONE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("ready", help="what `cecochat up --json` says")
    parser.add_argument("--user", required=True)
    parser.add_argument("--token", required=True)
    parser.add_argument("--seconds", type=float, default=10)
    given = parser.parse_args()
    where = {name: json.loads(given.ready)[name] for name in ("connect", "messaging", "history")}
    os.nice(10)  # those who measure come first: a real flood comes from another machine
    until_s = time.monotonic() + given.seconds
    flood = Flood(**where, user=given.user, token=given.token, until_s=until_s)
    asyncio.run(KINDS[given.kind](flood))
    print(flood.count)


if __name__ == "__main__":
    main()
