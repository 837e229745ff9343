"""The WebSocket transport: by our client, and by another library, as in another language."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop
import websockets

from cecochat import runtime
from cecochat.client import Client, InvalidArgument, Message, NotReachable, connect, find_route
from cecochat.client.lookup import Lookup
from cecochat.client.transport.websocket import WebSocketTransport
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Position, ServerItem
from tests.integration.streams import message
from tests.integration.systems import Running, running
from tests.support.certificates import certificates
from tests.support.pipes import SUBPROTOCOL, PipeClosed, WebSocketPipe
from tests.support.rawclient import mint
from tests.support.records import dialog
from tests.support.server import Server

WITHIN_S = 30.0
LARGE = 15_000  # below the longest text; four of them make a frame of 60 KB
AB = dialog("alice", "bob")


async def texts(client: Client, count: int) -> list[str]:
    found: list[str] = []
    async with asyncio.timeout(WITHIN_S):
        async for event in client:
            if isinstance(event, Message):
                found.append(event.text)
                if len(found) == count:
                    break
    return found


class Socket:
    """A WebSocket that is opened by another library; `items` is all that came."""

    def __init__(self, pipe: WebSocketPipe) -> None:
        self._pipe = pipe
        self.write, self.close = pipe.write, pipe.close
        self.items: list[ServerItem] = []
        self.position = Position()

    async def read(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            self.items += (await self._pipe.read()).items

    async def until(self, wanted: Callable[[ServerItem], bool]) -> ServerItem:
        while not (found := [item for item in self.items if wanted(item)]):
            await self.read()
        return found[0]


async def caught_up(url: str, token: str, position: Position | None = None) -> Socket:
    socket = Socket(await WebSocketPipe.open(url, token))
    await socket.write(ClientFrame(hello=Hello(device="test", position=position)))
    welcome = (await socket.until(lambda item: item.HasField("welcome"))).welcome
    caught = (await socket.until(lambda item: item.HasField("caught_up"))).caught_up
    socket.position.CopyFrom(welcome.position)
    socket.position.offset, socket.position.clock_ms = caught.offset, caught.clock_ms
    return socket


@pytest.mark.parametrize("other", ["grpc", "websocket"])
async def test_a_chat_with_somebody_on_either_transport(up: Running, other: str) -> None:
    url = up.addresses.connect
    async with (
        connect(url, up.token("alice"), transport="websocket") as alice,
        connect(url, up.token("bob"), transport=other) as bob,  # type: ignore[arg-type]
    ):
        await alice.send("bob", "one")
        await bob.send("alice", "two")
        assert await texts(alice, 1) == ["two"]
        assert await texts(bob, 1) == ["one"]


async def test_a_state_goes_on_over_the_other_transport(up: Running, tmp_path: Path) -> None:
    url, file = up.addresses.connect, tmp_path / "state"
    async with connect(url, up.token("bob"), state=file):
        pass
    async with connect(url, up.token("alice"), transport="websocket") as alice:
        for number in range(3):
            await alice.send("bob", str(number))
    async with connect(url, up.token("bob"), state=file, transport="websocket") as bob:
        assert await texts(bob, 3) == ["0", "1", "2"]


async def test_a_chat_over_tls(tmp_path: Path) -> None:
    signed = certificates(tmp_path / "certificates")
    async with running(
        tmp_path / "data", tls_cert_file=signed.cert_file, tls_key_file=signed.key_file
    ) as up:
        url = up.addresses.connect
        assert up.addresses.websocket.startswith("wss://")
        async with (
            connect(url, up.token("bob"), ca_file=signed.ca_file, transport="websocket") as bob,
            connect(url, up.token("alice"), ca_file=signed.ca_file, transport="websocket") as alice,
        ):
            await alice.send("bob", "x" * LARGE)
            assert await texts(bob, 1) == ["x" * LARGE]


async def test_frames_of_60_kb_in_both_directions(server: Server) -> None:
    """Live and, by who resumes, at once."""
    url, secret = server.ready["websocket"], server.secret_file
    alice = await caught_up(url, mint(secret, "alice"))
    bob = await caught_up(url, mint(secret, "bob"))
    sent = [f"{number} ".ljust(LARGE + 7 * number, "x") for number in range(80)]
    for begin in range(0, len(sent), 4):
        some = enumerate(sent[begin : begin + 4], begin)
        frame = ClientFrame(sends=[message(str(number), AB, text) for number, text in some])
        assert frame.ByteSize() > 60_000
        await alice.write(frame)
    await bob.until(lambda item: item.delivered.event.message.text == sent[-1])
    again = await caught_up(url, mint(secret, "bob"), bob.position)
    for socket in (bob, again):
        delivered = [item.delivered for item in socket.items if item.HasField("delivered")]
        assert [each.event.message.text for each in delivered] == sent
        await socket.close()
    await alice.close()


def test_large_frames_that_wait_stay_whole_under_uvloop() -> None:
    """With its own `send`, picows 2.3.1 breaks the header of a large frame that waits for a client
    which reads slowly, if another frame follows.
    """
    sent = [b"x" * size for size in range(8_000, 12_000, 5)]

    async def serve(socket: runtime.socket.Socket) -> None:
        for each in sent:
            await socket.write(each)
        await socket.close(1000, "")

    async def main() -> list[bytes]:
        endpoint = runtime.websocket.Endpoint("/", SUBPROTOCOL, 1 << 16, lambda _: None)
        async with (
            runtime.websocket.serving(endpoint, serve, "127.0.0.1", 0, None) as port,
            websockets.connect(f"ws://127.0.0.1:{port}/", subprotocols=[SUBPROTOCOL]) as socket,
        ):
            return [each async for each in socket if isinstance(each, bytes)]

    assert uvloop.run(main()) == sent


async def test_the_lookup_names_both_ways(up: Running) -> None:
    route = await find_route(up.addresses.connect, up.token("alice"))
    assert route.websocket == up.addresses.websocket
    assert route.websocket.startswith("ws://127.0.0.1:")
    assert route.websocket.endswith("/v1/chat")
    assert route.messaging == up.addresses.messaging


async def test_a_broken_token_is_told_as_over_grpc(up: Running) -> None:
    socket = Socket(await WebSocketPipe.open(up.addresses.websocket, "nonsense"))
    await socket.write(ClientFrame(hello=Hello()))
    await socket.read()
    assert socket.items[0].disconnect.error.code == errors_pb2.ERROR_CODE_UNAUTHENTICATED
    with pytest.raises(PipeClosed, match="close code 4502"):
        await socket.read()


@pytest.mark.parametrize(
    ("answer", "told"),
    [(b"", "hung up in the handshake"), (b"HTTP/1.1 502 Bad Gateway\r\n\r\n", "502")],
    ids=["hangs up", "refuses"],
)
async def test_a_handshake_that_fails_is_told_at_once(answer: bytes, told: str) -> None:
    """As where a server is killed, or an edge has none to lead to."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    lookup = Lookup("http://127.0.0.1", "a token", None)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        address = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1/chat"
        transport = WebSocketTransport(lookup)
        with pytest.raises(NotReachable, match=told):
            async with asyncio.timeout(60), transport.open(address, "a token"):
                pass


async def test_a_client_without_the_extra_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "picows", None)
    with pytest.raises(InvalidArgument, match="pip install picows"):
        await connect("http://127.0.0.1:1", "token", transport="websocket")
    with pytest.raises(InvalidArgument, match="use one of grpc, websocket"):
        await connect("http://127.0.0.1:1", "token", transport="pigeon")  # type: ignore[arg-type]
