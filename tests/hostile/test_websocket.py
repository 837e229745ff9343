"""What a client may not do over WebSocket: each way ends with its close code, and the server serves
on with little more memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from cecochat.client import connect
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Send, ServerFrame
from tests.bench.meter import rss_bytes
from tests.hostile.rfc6455 import (
    BINARY,
    CONTINUATION,
    CUT_OFF,
    PING,
    TEXT,
    Peer,
    frame,
    header,
    peer,
)
from tests.support.hostile import metric
from tests.support.rawclient import mint
from tests.support.server import Server, running

ORIGIN = "https://chat.example.com"
GROWS_AT_MOST_BYTES = 64 << 20
STRANGERS = 1_500
FLOOD_BYTES = 32 << 20
FLOODED = (1009, CUT_OFF)
"""The socket may be reset under what floods on."""
SLOW_STREAMS = r'cecochat_streams_total{code="slow"}'
Attack = Callable[[Peer], Awaitable[None]]


def says(*frames: bytes) -> Attack:
    async def attack(it: Peer) -> None:
        await it.say(*frames)

    return attack


async def floods_an_endless_frame(it: Peer) -> None:
    await it.say(header(BINARY, 1 << 40))
    for _ in range(FLOOD_BYTES >> 16):
        await it.say(bytes(1 << 16))


async def floods_pings(it: Peer) -> None:
    for _ in range(1_000):
        await it.say(frame(PING, b"x" * 125) * 10)


HELLO = frame(BINARY, ClientFrame(hello=Hello(token="nonsense")).SerializeToString())
SENDS = frame(BINARY, ClientFrame(sends=[Send()]).SerializeToString())
BEFORE_THE_TOKEN = {
    "nothing": (says(), (4017,)),
    "no token": (says(frame(BINARY, ClientFrame(hello=Hello()).SerializeToString())), (4502,)),
    "a token that nobody signed": (says(HELLO), (4502,)),
    "no hello": (says(SENDS), (4516,)),
    "no protobuf": (says(frame(BINARY, b"\xff" * 20)), (4501,)),
    "text": (says(frame(TEXT, b"hello")), (4516,)),
    "a bit of an extension": (says(frame(BINARY, b"x", bits=0x40)), (4516,)),
    "a continuation of nothing": (says(frame(CONTINUATION, b"x")), (4516,)),
    "a message within another": (says(frame(BINARY, fin=False), frame(BINARY)), (4516,)),
    "empty fragments": (
        says(frame(BINARY, fin=False), *[frame(CONTINUATION, fin=False)] * 100),
        (4505,),
    ),
    "fragments": (says(*[frame(BINARY, b"x" * 999, fin=False)] * 2), (4516,)),
    "much": (says(frame(BINARY, b"x" * 20_000)), (4505,)),
    "a frame over the limit": (says(header(BINARY, (64 << 10) + 1)), (1009,)),
    "an endless frame": (floods_an_endless_frame, FLOODED),
    "no mask": (says(frame(BINARY, b"x", masked=False)), (1002,)),
    "an unknown kind of frame": (says(frame(3)), (1002,)),
    "half of a ping": (says(frame(PING, fin=False)), (1002,)),
    "pings": (floods_pings, (4006,)),
}
AFTER_IT = {
    "text": (says(frame(TEXT, b"hello")), (4516,)),
    "a second hello": (says(HELLO), (4516,)),
    "no protobuf": (says(frame(BINARY, b"\xff" * 20)), (4501,)),
    "a frame over the limit": (says(header(BINARY, (64 << 10) + 1)), (1009,)),
    "a message over the limit in fragments": (
        says(
            frame(BINARY, b"x" * 60_000, fin=False), frame(CONTINUATION, b"x" * 60_000, fin=False)
        ),
        (4505,),
    ),
    "an endless frame": (floods_an_endless_frame, FLOODED),
    "pings": (floods_pings, (4006,)),
}


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[Server]:
    async with running(tmp_path, configuration={"web.origins": f"{ORIGIN}, "}) as server:
        yield server


async def test_each_attack_ends_with_its_close_code(server: Server) -> None:
    url = server.ready["websocket"]
    await serves(server)
    before = rss_bytes(server.pid)
    codes = await asyncio.gather(
        *(outcome(url, attack, b"") for attack, _ in BEFORE_THE_TOKEN.values()),
        *(
            outcome(url, attack, hello(server, f"user{number}"))
            for number, (attack, _) in enumerate(AFTER_IT.values())
        ),
    )
    wanted = [*BEFORE_THE_TOKEN.items(), *AFTER_IT.items()]
    found = dict(zip([name for name, _ in wanted], codes, strict=True))
    wrong = [
        (name, code, ended)
        for (name, (_, code)), ended in zip(wanted, codes, strict=True)
        if ended not in code
    ]
    assert wrong == [], found
    assert rss_bytes(server.pid) - before < GROWS_AT_MOST_BYTES
    await serves(server)
    assert "Traceback" not in server.said


def hello(server: Server, user: str) -> bytes:
    token = mint(server.secret_file, user)
    return frame(BINARY, ClientFrame(hello=Hello(token=token)).SerializeToString())


async def outcome(url: str, attack: Attack, first: bytes) -> int:
    """The close code of an attack, after a hello if there is one."""
    async with peer(url) as it:
        assert it.status == 101
        if first:
            await it.say(first)
            while not is_caught_up(await it.read()):
                pass
        async with asyncio.TaskGroup() as group:
            attacking = group.create_task(_run(attack, it))
            code = await it.ended()
            attacking.cancel()
        return code


async def _run(attack: Attack, it: Peer) -> None:
    await attack(it)


def is_caught_up(came: tuple[int, bytes]) -> bool:
    opcode, payload = came
    assert opcode == BINARY
    return any(item.HasField("caught_up") for item in ServerFrame.FromString(payload).items)


async def serves(server: Server) -> None:
    token = mint(server.secret_file, "alice")
    async with connect(server.connect_url, token, transport="websocket") as alice:
        await alice.send("bob", "still here")


async def test_who_may_shake_hands(server: Server) -> None:
    url = server.ready["websocket"]
    firefox = "keep-alive, Upgrade"
    statuses = {
        "no browser": await status(url),
        "our page": await status(url, Origin=ORIGIN),
        "our page in Firefox": await status(url, Origin=ORIGIN, Connection=firefox),
        "another page": await status(url, Origin="https://evil.example.com"),
        "a file": await status(url, Origin="null"),
        "our page without TLS": await status(url, Origin="http://chat.example.com"),
        "elsewhere": await status(url.replace("/v1/chat", "/v1/connect")),
        "another protocol": await status(url, Sec_WebSocket_Protocol="mqtt"),
        "one of several": await status(url, Sec_WebSocket_Protocol="mqtt, cecochat.v1"),
        "no WebSocket": await status(url, Upgrade=""),
        "no key": await status(url, Sec_WebSocket_Key="short"),
    }
    assert statuses == {
        "no browser": 101,
        "our page": 101,
        "our page in Firefox": 101,
        "another page": 403,
        "a file": 403,
        "our page without TLS": 403,
        "elsewhere": 404,
        "another protocol": 400,
        "one of several": 101,
        "no WebSocket": 400,
        "no key": 400,
    }


async def status(url: str, **headers: str) -> int:
    async with peer(url, **headers) as it:
        return it.status


@pytest.mark.timeout(420)
async def test_a_crowd_of_strangers_keeps_nobody_out(server: Server) -> None:
    """Those who have waited longest without a token make room."""
    url, before = server.ready["websocket"], rss_bytes(server.pid)
    async with AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(peer(url)) for _ in range(STRANGERS)]
        await serves(server)
        assert await crowd[0].ended() in (CUT_OFF, 4017)  # that where a crowd takes long to come
        assert rss_bytes(server.pid) - before < GROWS_AT_MOST_BYTES
    await serves(server)


@pytest.mark.timeout(420)
async def test_who_does_not_read_is_cut_off_as_slow(server: Server) -> None:
    url = server.ready["websocket"]
    token = mint(server.secret_file, "alice")
    async with peer(url) as it:
        await it.say(hello(server, "bob"))
        while not is_caught_up(await it.read()):
            pass
        async with connect(server.connect_url, token, transport="websocket") as alice:
            for number in range(0, 12 << 20, 15_000):
                _ = await alice.post("bob", f"{number} ".ljust(15_000, "x"))
            await alice.send("bob", "that is all")
        ended = await it.ended()
        assert ended in (4012, CUT_OFF), "the last frame may not get through"
        said = await metric(server.ready["health"]["messaging"], SLOW_STREAMS)
        assert said == 1
