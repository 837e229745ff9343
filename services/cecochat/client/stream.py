"""Runs one stream to a messaging server, from the hello to the end of the session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import aclosing
from typing import Any, NamedTuple

import grpc

from cecochat.client.channel import error_of, metadata, open_channel
from cecochat.client.errors import ChatError, NotReachable, refused
from cecochat.client.events import hole_of, missing, receipt_of
from cecochat.client.history import HistoryCalls
from cecochat.client.local import LocalDevice
from cecochat.domain.device import device as domain
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import history_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, Gap, ReadToken, ServerFrame, ServerItem

CHAT = "/cecochat.v1.Messaging/Chat"
WELCOME_TIMEOUT_S = 10.0


class Ended(NamedTuple):
    """The reason why a stream ended.

    `error` is None if this side wants a new stream. `address` names the server to go on with.
    """

    error: ChatError | None
    address: str = ""


class Stream:
    """Runs the sessions of the local device, one at a time.

    It calls `save` before a send leaves, and `expiring` when the token has to be renewed.
    """

    def __init__(
        self,
        local: LocalDevice,
        history: HistoryCalls,
        save: Callable[[], Awaitable[None]],
        expiring: Callable[[], Coroutine[Any, Any, None]],
        on_item: Callable[[ServerItem], None],
    ) -> None:
        self._local = local
        self._history = history
        self._save = save
        self._expiring = expiring
        self._on_item = on_item
        self._renewal: asyncio.Task[None] | None = None

    async def run(
        self, address: str, token: str, label: str, credentials: grpc.ChannelCredentials | None
    ) -> Ended:
        """Serve until the session ends. Raises what `save` and `expiring` raise, in a group."""
        # `drained` ends the session, too: the device has to go back and begin a new one.
        async with open_channel(address, credentials) as channel:
            open_call: Any = channel.stream_stream(
                CHAT,
                request_serializer=ClientFrame.SerializeToString,
                response_deserializer=ServerFrame.FromString,
            )
            call = open_call(metadata=metadata(token))
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read(call, address, label, group))
                writer = group.create_task(self._write(call))
                drained = group.create_task(self._local.progress.inbox.drained.wait())
                await asyncio.wait({reader, drained}, return_when=asyncio.FIRST_COMPLETED)
                for task in (reader, writer, drained, self._renewal):
                    if task:
                        task.cancel()
            return Ended(None) if reader.cancelled() else reader.result()

    async def _read(self, call: Any, address: str, label: str, group: asyncio.TaskGroup) -> Ended:
        try:
            await call.write(self._local.hello(label))
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                frame = await call.read()
            while frame is not grpc.aio.EOF:
                for item in frame.items:
                    if ended := await self._take(item, group):
                        return ended
                frame = await call.read()
        except grpc.aio.AioRpcError as error:
            return Ended(error_of(f"the messaging server at {address}", error))
        except TimeoutError:
            return Ended(
                NotReachable(
                    f"the messaging server at {address} did not answer within "
                    f"{WELCOME_TIMEOUT_S:g} s"
                )
            )
        except ChatError as error:
            return Ended(error)  # raised by the history, while a gap was being filled
        return Ended(NotReachable(f"the messaging server at {address} ended the stream"))

    async def _take(self, item: ServerItem, group: asyncio.TaskGroup) -> Ended | None:
        happening = self._local.receive(item)
        self._on_item(item)
        match happening:
            case domain.Gapped(gap):
                await self._fill(gap)
            case domain.TokenExpiring():
                self._renewal = group.create_task(self._expiring())
            case domain.Rejected():
                return Ended(None)  # the server takes no more sends in this session
            case domain.Disconnected(error, address):
                return Ended(refused(error), address)
        return None

    async def _write(self, call: Any) -> None:
        """Write frames as they come up. If the stream ends, the reader learns why."""
        try:
            while True:
                await self._local.to_write.wait()
                self._local.to_write.clear()
                while frame := self._local.next_frame():
                    if frame.sends:
                        await self._save()
                    await call.write(frame)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return

    # -- gaps

    async def _fill(self, gap: Gap) -> None:
        """Fetch what the log no longer has from the history, page by page. Raises `ChatError`."""
        listed, holes = set[str](), list[history_pb2.Hole]()
        async with aclosing(self._history.chats_by_id(gap.token)) as pages:
            async for page in pages:
                for chat in page.chats:
                    await self._fill_chat(chat, gap.token)
                    listed.add(chat.chat_id)
                holes += page.holes
        for hole in sorted(holes, key=lambda hole: hole.first_id):
            chat_id = ChatId(hole.chat_id)
            if chat_id not in listed and hole.last_id > self._shown_up_to(chat_id):
                self._take_hole(hole)
        self._local.filled()

    def _shown_up_to(self, chat_id: ChatId) -> int:
        return self._local.progress.live.shown_up_to(chat_id)

    def _take_hole(self, hole: history_pb2.Hole) -> None:
        """Tell the application about a hole.

        If the hole is one known message that only lacks its content, the message counts as shown;
        if it is an own one, its send counts as accepted.
        """
        self._local.tell(hole_of(hole))
        if hole.client_message_id:
            self._local.fill(missing(hole))

    async def _fill_chat(self, chat: history_pb2.Chat, token: ReadToken) -> None:
        chat_id, marks = ChatId(chat.chat_id), chat.marks
        low = self._shown_up_to(chat_id)
        if max([chat.last_message.id, *(hole.last_id for hole in chat.holes)]) > low:
            async with aclosing(self._history.every_page(chat_id, low, token)) as pages:
                async for page in pages:
                    self._fill_page(page)
                    marks = page.marks  # newer than those of the list of chats
        for mark in marks:
            if mark.user_id != self._local.user_id:
                self._local.tell(receipt_of(chat_id, mark))

    def _fill_page(self, page: history_pb2.GetMessagesResponse) -> None:
        """Take messages and holes in the order of their ids."""
        holes = sorted(page.holes, key=lambda hole: hole.first_id, reverse=True)
        for event in page.messages:
            while holes and holes[-1].first_id < event.id:
                self._take_hole(holes.pop())
            self._local.fill(event)
        while holes:
            self._take_hole(holes.pop())
