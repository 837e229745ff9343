"""A tiny correct chat server in memory, and ways to make it wrong, to test clients and oracle on.

One partition, one log, no process: `stop` and `start` keep what was accepted, as a restart does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import jwt
from typing_extensions import override

from cecochat.v1 import errors_pb2, history_pb2, history_pb2_grpc, messaging_pb2, messaging_pb2_grpc
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import ClientFrame, Send, ServerFrame, ServerItem
from tests.support.pipes import ERROR_TRAILER
from tests.support.records import is_group, participants

AUDIENCE = "cecochat"
Spoil = Callable[[str, ServerItem], list[ServerItem]]
"""What a session of that user gets instead of an item."""


class FakeSession:
    def __init__(self, user_id: str, spoil: Spoil) -> None:
        self.user_id = user_id
        self.queue: asyncio.Queue[ServerItem] = asyncio.Queue()
        self._spoil = spoil

    def put(self, item: ServerItem) -> None:
        for each in self._spoil(self.user_id, item):
            self.queue.put_nowait(each)


class FakeServer(messaging_pb2_grpc.MessagingServicer, history_pb2_grpc.HistoryServicer):
    """Offsets are places in `log`, ids lie `FIRST_ID` above; `start_offset` is the first kept. A
    record was appended every millisecond.
    """

    FIRST_ID = 1_000
    BEGAN_MS = 1_700_000_000_000

    def __init__(self, secret_file: Path) -> None:
        self.secret_file = secret_file
        self.connect_url = ""
        self.log: list[Event] = []
        self.start_offset = 0
        self.behind_once = False
        self.spoil: Spoil = lambda _, item: [item]
        self.pages = 0  # of the history, given so far
        self.taking = asyncio.Event()  # cleared: what is sent waits
        self.taking.set()
        self.sessions: set[FakeSession] = set()
        self._accepted: dict[tuple[str, str], int] = {}

    async def start(self) -> None:
        self._grpc = grpc.aio.server()
        messaging_pb2_grpc.add_MessagingServicer_to_server(self, self._grpc)
        history_pb2_grpc.add_HistoryServicer_to_server(self, self._grpc)
        self._address = f"127.0.0.1:{self._grpc.add_insecure_port('127.0.0.1:0')}"
        await self._grpc.start()
        self._http = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.connect_url = "http://{}:{}".format(*self._http.sockets[0].getsockname())

    async def stop(self) -> None:
        """Break off every stream at once."""
        self._http.close()
        await self._grpc.stop(None)
        self.sessions.clear()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = json.dumps({"messaging": self._address, "history": self._address}).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    @override
    async def Chat(self, request_iterator: Any, context: Any) -> None:  # type: ignore[override]
        session = FakeSession(self._user(context), self.spoil)
        hello = (await context.read()).hello
        at = hello.position.offset if hello.HasField("position") else len(self.log) - 1
        start = max(at, self.start_offset - 1)
        place = messaging_pb2.Position(log_id="fake", **self._at(start))
        session.put(
            ServerItem(welcome=messaging_pb2.Welcome(position=place, user_id=session.user_id))
        )
        if at < start:
            gap = messaging_pb2.Gap(from_offset=at, to_offset=start)
            gap.token.offsets[0], gap.token.clocks[0] = start, place.clock_ms
            session.put(ServerItem(gap=gap))
        for offset in range(start + 1, len(self.log)):
            self._deliver(session, offset)
        session.put(ServerItem(caught_up=messaging_pb2.CaughtUp(**self._at(len(self.log) - 1))))
        self.sessions.add(session)
        try:
            async with asyncio.TaskGroup() as group:
                pump = group.create_task(_pump(session, context))
                while isinstance(frame := await context.read(), ClientFrame):
                    await self.taking.wait()
                    for send in frame.sends:
                        self._accept(session, send)
                pump.cancel()
        finally:
            self.sessions.discard(session)

    @override
    async def GetMessages(self, request: Any, context: Any) -> history_pb2.GetMessagesResponse:
        assert self._user(context) in participants(request.chat_id)
        self.pages += 1
        if self.behind_once and request.HasField("token"):
            self.behind_once = False
            error = errors_pb2.Error(
                code=errors_pb2.ERROR_CODE_BEHIND, retriable=True, retry_after_ms=1
            )
            context.set_trailing_metadata(((ERROR_TRAILER, error.SerializeToString()),))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "behind")
        rows = [event for event in self.log if event.chat_id == request.chat_id]
        if request.HasField("after"):
            rows = [event for event in rows if event.id > request.after]
            page = rows[: request.limit]
        else:
            rows = [event for event in rows if not request.before or event.id < request.before]
            page = rows[-request.limit :]
        return history_pb2.GetMessagesResponse(messages=page, has_more=len(page) < len(rows))

    @override
    async def GetChats(self, request: Any, context: Any) -> history_pb2.GetChatsResponse:
        raise NotImplementedError

    @override
    async def FindMessage(self, request: Any, context: Any) -> history_pb2.FindMessageResponse:
        raise NotImplementedError

    @override
    async def GetGroup(self, request: Any, context: Any) -> history_pb2.GetGroupResponse:
        raise NotImplementedError

    @override
    async def ListMembers(self, request: Any, context: Any) -> history_pb2.ListMembersResponse:
        raise NotImplementedError

    @override
    async def SearchMessages(
        self, request: Any, context: Any
    ) -> history_pb2.SearchMessagesResponse:
        raise NotImplementedError

    @override
    async def Report(self, request: Any, context: Any) -> Any:
        raise NotImplementedError

    Block = Unblock = ListBlocks = Report

    def _user(self, context: Any) -> str:
        metadata = dict(context.invocation_metadata())
        token = metadata["authorization"].removeprefix("Bearer ")
        secret = self.secret_file.read_text()
        claims = jwt.decode(token, secret, algorithms=["HS256"], audience=AUDIENCE)
        return str(claims["sub"])

    def _accept(self, session: FakeSession, send: Send) -> None:
        key = (session.user_id, send.client_message_id)
        offset = self._accepted.setdefault(key, len(self.log))
        others = sorted(participants(send.chat_id) - {session.user_id})
        ack = messaging_pb2.Ack(
            client_message_id=send.client_message_id,
            message_id=self.FIRST_ID + offset,
            **self._at(offset),
        )
        if offset == len(self.log):
            event = Event(
                id=self.FIRST_ID + offset,
                user_id=session.user_id,
                chat_id=send.chat_id,
                client_message_id=send.client_message_id,
                recipient_ids=[] if is_group(send.chat_id) else others,
                message=send.message if send.HasField("message") else None,
                membership=send.membership if send.HasField("membership") else None,
            )
            self.log.append(event)
            for each in self.sessions - {session}:
                self._deliver(each, offset)
        session.put(ServerItem(ack=ack))

    def _deliver(self, session: FakeSession, offset: int) -> None:
        event = self.log[offset]
        if session.user_id in participants(event.chat_id):
            item = messaging_pb2.Delivered(event=event, **self._at(offset))
            session.put(ServerItem(delivered=item))

    def _at(self, offset: int) -> dict[str, int]:
        return {"offset": offset, "clock_ms": self.BEGAN_MS + offset if offset >= 0 else 0}


async def _pump(session: FakeSession, context: Any) -> None:
    while True:
        items = [await session.queue.get()]
        while not session.queue.empty():
            items.append(session.queue.get_nowait())
        await context.write(ServerFrame(items=items))


@asynccontextmanager
async def fake_server(folder: Path) -> AsyncIterator[FakeServer]:
    secret_file = folder / "secret"
    secret_file.write_text("a secret of at least thirty-two bytes, for tests")
    server = FakeServer(secret_file)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
