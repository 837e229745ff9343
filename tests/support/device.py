"""One device of a test: it decides when to connect, to resume and to send again.

As the protocol asks of a client, it keeps its position in stream order, sends nothing before
`caught_up`, takes its own messages seen meanwhile as acks, then sends the unanswered again in
order, and fills a gap from the history before it moves on. It hides nothing that the server does
wrong: what arrives goes into the record as it is.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from itertools import count

from cecochat.v1.events_pb2 import Event, Message
from cecochat.v1.messaging_pb2 import (
    Ack,
    CaughtUp,
    Delivered,
    Gap,
    Position,
    ReadToken,
    Send,
    ServerItem,
)
from tests.support import records
from tests.support.eventually import eventually
from tests.support.pipes import Options, TransportName
from tests.support.rawclient import (
    ConnectionEnded,
    NotFound,
    RawConnection,
    RawHistory,
    Route,
    find,
    history,
    opened,
)
from tests.support.records import (
    DeviceKey,
    GapFilled,
    Place,
    Record,
    message_of,
    place_of,
)

BACK_OFF_S = 0.1
FRAME_BYTES = 60_000
FRAME_SENDS = 64


class Device:
    """A device of a user. `say` never waits: what is unanswered is kept until it is answered."""

    def __init__(
        self,
        who: DeviceKey,
        record: Record,
        connect_url: Callable[[], str],
        token: Callable[[], str],
        chats: tuple[str, ...] = (),
        transport: TransportName = "grpc",
    ) -> None:
        self.who = who
        self.position: Place | None = None
        self.clock_ms = 0  # of the log, at the position
        self._start: Position | None = None  # of the session
        self.unanswered: dict[str, Send] = {}
        self.caught_up = asyncio.Event()
        self.options: Options = ()  # of gRPC, for its next connections
        self.reading = asyncio.Event()  # cleared: it stays connected and takes nothing in
        self.reading.set()
        self._leaving = asyncio.Event()
        self.chats = chats
        self._transport = transport
        self._record, self._connect_url, self._token = record, connect_url, token
        self._outbox: deque[Send] = deque()
        self._written = asyncio.Event()
        self._connections = count(1)
        self._sends = count()

    def say(self, chat_id: str, text: str, client_message_id: str = "") -> str:
        """Send as soon as the session is open. Returns the client message id."""
        return self.put(Send(chat_id=chat_id, message=Message(text=text)), client_message_id)

    def put(self, send: Send, client_message_id: str = "") -> str:
        """The same of any send, which gets its client message id here."""
        send.client_message_id = client_message_id or f"{self.who.device}-{next(self._sends)}"
        self.unanswered[send.client_message_id] = send
        if self.caught_up.is_set():
            self._outbox.append(send)
            self._written.set()
        return send.client_message_id

    async def run(self) -> None:
        """Be connected, again and again, until cancelled."""
        while True:
            with suppress(NotFound):
                await self.session()
            await asyncio.sleep(BACK_OFF_S)

    def leave(self) -> None:
        """End the connection that is open; `run` makes another."""
        self._leaving.set()

    async def visit(self) -> None:
        """Be connected until nothing is unanswered, then leave."""
        while self.unanswered:
            try:
                await self.session(until=lambda: eventually(lambda: not self.unanswered))
            except NotFound:
                await asyncio.sleep(BACK_OFF_S)

    async def session(self, until: Callable[[], Awaitable[object]] | None = None) -> None:
        """One connection from hello to its end, or until `until` returns."""
        token = self._token()
        route = await find(self._connect_url(), token)
        pipe = await opened(self._transport, route, token, self.options)
        connection = RawConnection(pipe, self._record, self.who, number := next(self._connections))
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._read(connection, number, route, token)),
                    group.create_task(self._write(connection)),
                    group.create_task(self._leaving.wait()),
                ]
                if until is not None:
                    tasks.append(group.create_task(_wait_for(until)))
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in tasks:
                    task.cancel()
        finally:
            self._leaving.clear()
            self.caught_up.clear()
            self._outbox.clear()
            await connection.close()

    async def _read(self, connection: RawConnection, number: int, route: Route, token: str) -> None:
        try:
            await connection.hello(self.position, self.clock_ms)
            while await self.reading.wait():
                for item in await connection.read():
                    if item.HasField("gap"):
                        await self._fill(item.gap, number, route, token)
                    elif not self._take(item):
                        return
        except ConnectionEnded:
            return

    def _take(self, item: ServerItem) -> bool:
        """Move on by one item; False: leave the connection."""
        match item.WhichOneof("item"):
            case "welcome":
                self._start = item.welcome.position
                if self.position is None:  # else it stays where it is until a gap is filled
                    self.position, self.clock_ms = place_of(self._start), self._start.clock_ms
            case "delivered":
                self._move(item.delivered)
                self._answered(message_of(item.delivered.event))
            case "ack":
                self._move(item.ack)
                self.unanswered.pop(item.ack.client_message_id, None)
            case "caught_up":
                self._move(item.caught_up)
                self._open()
            case "refused":
                if not item.refused.error.retriable:
                    self.unanswered.pop(item.refused.client_message_id, None)
                return False
        return True

    def _open(self) -> None:
        if not self.caught_up.is_set():
            self._outbox.extend(self.unanswered.values())
            self.caught_up.set()
            self._written.set()

    def _move(self, to: Delivered | Ack | CaughtUp) -> None:
        assert self.position is not None, "an item before the welcome"
        if to.offset >= self.position.offset:
            self.position = self.position._replace(offset=to.offset)
            self.clock_ms = to.clock_ms

    def _answered(self, message: records.Message) -> None:
        if message.user_id == self.who.user_id:
            self.unanswered.pop(message.client_message_id, None)

    async def _fill(self, gap: Gap, number: int, route: Route, token: str) -> None:
        """Read what the log lost from the history, then stand at the end of the gap."""
        async with history(route.history, token) as pages:
            found = [message_of(event) for event in await self._missed(pages, gap.token)]
        self._record.add(self.who, number, GapFilled(gap.to_offset, tuple(found)))
        assert self._start is not None, "a gap before the welcome"
        self.position = place_of(self._start)._replace(offset=gap.to_offset)
        self.clock_ms = self._start.clock_ms
        for message in found:
            self._answered(message)

    async def _missed(self, pages: RawHistory, token: ReadToken) -> list[Event]:
        return [event for chat in self.chats for event in await pages.events(chat, token)]

    async def _write(self, connection: RawConnection) -> None:
        """Put what is ready into as few frames as the limits allow."""
        while True:
            await self._written.wait()
            self._written.clear()
            while self._outbox:
                frame: list[Send] = []
                size = 0
                while self._outbox and len(frame) < FRAME_SENDS:
                    size += self._outbox[0].ByteSize() + 8
                    if frame and size > FRAME_BYTES:
                        break
                    frame.append(self._outbox.popleft())
                try:
                    await connection.send(self.position.offset if self.position else 0, frame)
                except ConnectionEnded:
                    return  # the reader sees the end too, with its reason


async def _wait_for(until: Callable[[], Awaitable[object]]) -> None:
    await until()
