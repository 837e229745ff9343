"""Runs one stream to a messaging server, from the hello to the end of the session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from typing import Any, NamedTuple

from cecochat.client.errors import ChatError, NotReachable, refused
from cecochat.client.events import hole_of, missing, receipt_of
from cecochat.client.local import LocalDevice
from cecochat.client.queries import HistoryCalls
from cecochat.client.settings import settings_in
from cecochat.client.transport.base import Call, StreamEnded
from cecochat.domain.device import device as domain
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import history_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Gap, ReadToken, ServerItem

WELCOME_TIMEOUT_S = 10.0


class Ended(NamedTuple):
    """The reason why a stream ended.

    `error` is None if this side wants a new stream. `told` may name the server to go on with.
    """

    error: ChatError | None
    told: domain.Disconnected | None = None


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
        self, opening: AbstractAsyncContextManager[Call], address: str, label: str
    ) -> Ended:
        """Serve until the session ends. Raises what `save` and `expiring` raise, in a group, and
        `ChatError` if the stream cannot be opened.
        """
        # `drained` ends the session, too: the device has to go back and begin a new one.
        async with opening as call:
            async with asyncio.TaskGroup() as group:
                reader = group.create_task(self._read(call, address, label, group))
                writer = group.create_task(self._write(call))
                drained = group.create_task(self._local.progress.inbox.drained.wait())
                await asyncio.wait({reader, drained}, return_when=asyncio.FIRST_COMPLETED)
                for task in (reader, writer, drained, self._renewal):
                    if task:
                        task.cancel()
            return Ended(None) if reader.cancelled() else reader.result()

    async def _read(self, call: Call, address: str, label: str, group: asyncio.TaskGroup) -> Ended:
        try:
            with suppress(StreamEnded):  # reading says why
                await call.begin(self._local.hello(label))
            async with asyncio.timeout(WELCOME_TIMEOUT_S):
                frame = await call.read()
            while frame is not None:
                for item in frame.items:
                    if ended := await self._take(item, group):
                        return ended
                frame = await call.read()
        except TimeoutError:
            return Ended(
                NotReachable(
                    f"the messaging server at {address} did not answer within "
                    f"{WELCOME_TIMEOUT_S:g} s"
                )
            )
        except ChatError as error:
            return Ended(error)  # of the stream, or of the history while a gap was being filled
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
            case domain.Disconnected(error) as told:
                return Ended(refused(error), told)
        return None

    async def _write(self, call: Call) -> None:
        """Write frames as they come up. If the stream ends, the reader learns why."""
        with suppress(StreamEnded):
            while True:
                await self._local.to_write.wait()
                self._local.to_write.clear()
                while frame := self._local.next_frame():
                    if frame.sends:
                        await self._save()
                    await call.write(frame)

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
        unfilled = settings_in(chat, self._local.user_id)
        low = self._shown_up_to(chat_id)
        last = max(chat.last_message.id, chat.last_change_id)
        if max([last, *(hole.last_id for hole in chat.holes)]) > low:
            found = self._history.every_page(chat_id, low, token, with_changes=True)
            async with aclosing(found) as pages:
                async for page in pages:
                    unfilled = self._fill_page(page, unfilled)
                    marks = page.marks  # newer than those of the list of chats
        if unfilled:
            self._local.fill(unfilled)
        for mark in marks:
            if mark.user_id != self._local.user_id:
                self._local.tell(receipt_of(chat_id, mark))

    def _fill_page(
        self, page: history_pb2.GetMessagesResponse, settings: Event | None
    ) -> Event | None:
        """Take messages, changes of messages, holes and what the user has set in the order of their
        ids. Return the settings if they come later.
        """
        holes = sorted(page.holes, key=lambda hole: hole.first_id, reverse=True)
        for event in page.messages:
            while holes and holes[-1].first_id < event.id:
                self._take_hole(holes.pop())
            if settings and settings.id < event.id:
                self._local.fill(settings)
                settings = None
            self._local.fill(event)
        while holes:
            self._take_hole(holes.pop())
        return settings
