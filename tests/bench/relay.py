"""The floor: a relay that does the least that a durable chat must do, and nothing more.

It parses a frame, commits its messages to SQLite with `synchronous=FULL`, acknowledges them to the
sender and hands them to the recipient. It checks no token, knows no resend, keeps no position, and
who is away gets nothing. `python -m tests.bench.relay FOLDER grpc|websocket` prints its address.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import grpc
import jwt
import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_create_server
from typing_extensions import override

from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import CaughtUp, ClientFrame, ServerFrame, ServerItem
from tests.support.records import participants

TABLE = "CREATE TABLE messages (id INTEGER PRIMARY KEY, chat_id TEXT, event BLOB)"
CAUGHT_UP = ServerFrame(items=[ServerItem(caught_up=CaughtUp())]).SerializeToString()
Row = tuple[int, str, bytes]


class Stream(Protocol):
    """Where what a user is to be told goes."""

    def put(self, frame: bytes) -> None: ...


class Work(NamedTuple):
    """One frame: what is committed, and then who is told what."""

    rows: list[Row]
    sender: Stream
    acks: bytes
    recipient: str
    delivered: bytes


class Log:
    """A thread that commits all that is waiting in one transaction, then says so on the loop."""

    def __init__(self, folder: Path, committed: Callable[[list[Work]], None]) -> None:
        self._folder, self._committed = folder, committed
        self._loop = asyncio.get_running_loop()
        self.waiting: queue.SimpleQueue[Work] = queue.SimpleQueue()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        database = sqlite3.connect(self._folder / "relay.db", isolation_level=None)
        for statement in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", TABLE):
            database.execute(statement)
        while True:
            group = [self.waiting.get()]
            while not self.waiting.empty():
                group.append(self.waiting.get())
            database.execute("BEGIN")
            rows = [row for work in group for row in work.rows]
            database.executemany("INSERT INTO messages VALUES (?, ?, ?)", rows)
            database.execute("COMMIT")
            self._loop.call_soon_threadsafe(self._committed, group)


class Relay:
    """Knows the stream of each user, and takes frames."""

    def __init__(self, folder: Path) -> None:
        self._streams: dict[str, Stream] = {}
        self._log = Log(folder, self._committed)
        self._count = 0

    def join(self, token: str, stream: Stream) -> str:
        """Return the user whom the token names; nobody checks whether it is genuine."""
        claims: dict[str, str] = jwt.decode(token, options={"verify_signature": False})
        self._streams[claims["sub"]] = stream
        return claims["sub"]

    def take(self, user_id: str, frame: ClientFrame) -> None:
        """Queue the sends of a frame, all of which go to one dialog, for the next commit."""
        if frame.HasField("hello"):
            self._streams[user_id].put(CAUGHT_UP)
            return
        rows: list[Row] = []
        acks, delivered = ServerFrame(), ServerFrame()
        (recipient,) = participants(frame.sends[0].chat_id) - {user_id}
        for send in frame.sends:
            self._count += 1
            ack = acks.items.add().ack
            ack.client_message_id, ack.offset = send.client_message_id, self._count
            item = delivered.items.add().delivered
            item.offset = self._count
            event = Event(
                id=self._count,
                user_id=user_id,
                chat_id=send.chat_id,
                client_message_id=send.client_message_id,
                recipient_ids=[recipient],
                message=send.message,
            )
            item.event.CopyFrom(event)
            rows.append((self._count, send.chat_id, event.SerializeToString()))
        told = acks.SerializeToString(), recipient, delivered.SerializeToString()
        self._log.waiting.put(Work(rows, self._streams[user_id], *told))

    def _committed(self, group: list[Work]) -> None:
        for work in group:
            work.sender.put(work.acks)
            self._streams[work.recipient].put(work.delivered)


class GrpcStream:
    """Collects frames, and writes all that there are at once: frames concatenate."""

    def __init__(self) -> None:
        self._waiting = bytearray()
        self._ready = asyncio.Event()

    def put(self, frame: bytes) -> None:
        self._waiting += frame
        self._ready.set()

    async def pump(self, context: Any) -> None:
        while await self._ready.wait():
            self._ready.clear()
            frame = bytes(self._waiting)
            self._waiting.clear()
            await context.write(frame)


async def serve_grpc(relay: Relay) -> int:
    async def chat(_: Any, context: Any) -> None:
        stream = GrpcStream()
        authorization = str(dict(context.invocation_metadata())["authorization"])
        user_id = relay.join(authorization.removeprefix("Bearer "), stream)
        async with asyncio.TaskGroup() as group:
            pump = group.create_task(stream.pump(context))
            while isinstance(data := await context.read(), bytes):
                relay.take(user_id, ClientFrame.FromString(data))
            pump.cancel()

    server = grpc.aio.server()
    method: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(chat)
    handler = grpc.method_handlers_generic_handler("cecochat.v1.Messaging", {"Chat": method})
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    KEPT.append(server)
    return port


class WebSocketStream(WSListener):
    """Parses in the callback of the socket, and writes there too."""

    def __init__(self, relay: Relay) -> None:
        self._relay, self._user_id = relay, ""

    @override
    def on_ws_connected(self, transport: WSTransport) -> None:
        self._transport = transport

    @override
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type != WSMsgType.BINARY:
            return
        taken = ClientFrame.FromString(frame.get_payload_as_bytes())
        if not self._user_id:
            self._user_id = self._relay.join(taken.hello.token, self)
        self._relay.take(self._user_id, taken)

    def put(self, frame: bytes) -> None:
        if not self._transport.is_disconnected:
            self._transport.send(WSMsgType.BINARY, frame)


async def serve_websocket(relay: Relay) -> int:
    server = await ws_create_server(lambda _: WebSocketStream(relay), "127.0.0.1", 0)
    KEPT.append(server)
    return int(server.sockets[0].getsockname()[1])


KEPT: list[Any] = []
SERVE = {"grpc": serve_grpc, "websocket": serve_websocket}


async def main(folder: Path, transport: str) -> None:
    """Serve until the process is killed."""
    logging.getLogger("grpc").setLevel(logging.CRITICAL)  # it reports each client that leaves
    port = await SERVE[transport](Relay(folder))
    print(f"127.0.0.1:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1]), sys.argv[2]))
