"""The client: one device of a user, which stays connected until it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import random

from typing_extensions import override

from cecochat.client.arguments import check_message_id
from cecochat.client.backoff import BackOff
from cecochat.client.calling import Calling
from cecochat.client.errors import ChatError, Closed, NotReachable, NotRead
from cecochat.client.events import Chat, Event, Message, Page, Reconnecting, Sender, answered_by
from cecochat.client.files import GIVE_UP_S, Files, Transfers
from cecochat.client.groups import Groups
from cecochat.client.handlers import H, Handlers
from cecochat.client.history import History
from cecochat.client.local import LocalDevice
from cecochat.client.lookup import Lookup, Route
from cecochat.client.names import chat_of
from cecochat.client.options import Options
from cecochat.client.queries import HistoryCalls
from cecochat.client.recent import recent
from cecochat.client.reporting import Asking, Reporting
from cecochat.client.search import FoundPage
from cecochat.client.sending import UNANSWERED_MAX, Sending
from cecochat.client.signals import Signals
from cecochat.client.state import State, to_its_end
from cecochat.client.stream import Ended, Stream
from cecochat.client.transport.base import Transport
from cecochat.domain.device.device import Device
from cecochat.domain.log.ids import ChatId
from cecochat.v1.messaging_pb2 import ServerItem

UNREAD_MAX = 10 * UNANSWERED_MAX  # sends whose events the application has not read yet
RECEIPT_EVERY_S = 0.2
KEEP_EVERY_S = 0.2
FLUSH_S = 3.0


class Client(Sending, Reporting):
    """A connected device, made by `connect`.

    Iterate over it for events, in one loop at a time. It reconnects and resumes by itself.

        async with connect(url, token) as alice:
            await alice.send("bob", "hello")
            async for event in alice:
                ...
    """

    def __init__(
        self,
        lookup: Lookup,
        transport: Transport,
        calls: HistoryCalls,
        state: State | None,
        device: Device,
        options: Options,
    ) -> None:
        self._lookup = lookup
        self._transport = transport
        self._calls = calls
        self._state = state
        self._options = options
        self._local = LocalDevice(
            device,
            listen=options.listen,
            receipts=options.receipts,
            buffer_max_bytes=options.buffer_max_bytes,
            invisible=options.invisible,
        )
        super().__init__(self._local)
        self._signals = Signals(device.user_id, self._local.signals)
        self._history = History(device.user_id, calls)
        self._groups = Groups(device.user_id, self._queue, self._history, self._local)
        calling = Calling(lookup.url, "Attachments", lookup.http, lookup.token, GIVE_UP_S)
        self._transfers = Transfers(lookup.url, lookup.http, lookup.ca_file)
        self._files = Files(
            device.user_id, self._transfers, calling, self.send, self._local.read_token
        )
        self._handlers = Handlers(device.user_id)
        self._resources = AsyncExitStack()  # what `close` closes
        self._closing = asyncio.Lock()
        self._reply: Sender = self.send  # what `Message.reply` calls
        self._stream = Stream(self._local, calls, self.keep, self._renew, self._arrived)
        self._saving = asyncio.Lock()
        self._opened = asyncio.Event()
        self._attempt = 0
        self._last: ChatError | None = None  # the reason why the last session or attempt ended
        self._error: ChatError | None = None  # the error that ended the client
        self._closed = False  # by the application

    @property
    def log_id(self) -> str:
        """The id of the event log, which names the system that this client is connected to."""
        return self._local.welcome.position.log_id

    @property
    def signals(self) -> Signals:
        """Who types and who is online, in the chats that the program shows."""
        return self._signals

    @property
    def groups(self) -> Groups:
        """The user's groups: making them, and changing who belongs to them."""
        return self._groups

    @property
    def files(self) -> Files:
        """The files that messages carry: sending them, and reading those of others."""
        return self._files

    # -- sending

    @override
    def _check_open(self) -> None:
        if self._local.ended:
            raise self._error or Closed()
        if self._options.listen and len(self._local.progress.dealt.outbox) > UNREAD_MAX:
            raise NotRead

    def mark_read(self, chat: str, message_id: int) -> None:
        """Tell the others that this user has read a chat up to that message.

        Marks are collected for a fifth of a second, and only the highest is sent. Raises
        `InvalidArgument`.
        """
        chat_id = chat_of(self.user_id, chat)
        check_message_id("message_id", message_id)
        self._note_read(chat_id, message_id)
        self._local.read_up_to(chat_id, message_id)

    # -- receiving

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> Event:
        """Return the next event. Asking for it means that the one before has been handled."""
        if self._closed:  # what has arrived besides comes again
            raise StopAsyncIteration
        if (event := await self._local.next_event()) is not None:
            return answered_by(event, self._reply) if isinstance(event, Message) else event
        if self._error:
            raise self._error
        raise StopAsyncIteration

    def on_message(self, handler: H) -> H:
        """Register an async function that `run` calls with each message of another user.

            @bot.on_message
            async def answer(message: Message) -> None:
                await message.reply(f"You said: {message.text}")

        Raises `InvalidArgument` if it is no async function.
        """
        return self._handlers.add(handler)

    async def run(self) -> None:
        """Call the handlers for one message after the other, until the client is closed.

        A message counts as handled once every handler has returned. If one raises, `run` raises the
        same error, and the message comes again: to all handlers, when `run` is called again or,
        with a `state`, when the client is opened again. So a handler that cannot cope with a
        message has to say so by returning. Other events are passed over; iterate to see them.

        Raises what a handler raises, the error that ended the client, or `InvalidArgument` if there
        is no handler.
        """
        await self._handlers.run(self)

    # -- history

    async def history(
        self, chat: str, limit: int = 50, *, before: int | None = None, after: int | None = None
    ) -> Page:
        """Return the `limit` messages just below the id `before`, or just above `after`.

        Without either, it returns the newest ones. The page includes every message that this client
        knows to be accepted. Raises `ChatError`.
        """
        chat_id = chat_of(self.user_id, chat)

        async def ask() -> Page:
            token = self._local.read_token()
            return await self._history.messages(
                chat_id, limit, before=before, after=after, token=token
            )

        belongs = chat_id in self._local.group_changes  # though the history may not know it yet
        page = await (recent(ask, lambda _: True) if belongs else ask())
        if page.entries:
            self._note_read(chat_id, page.entries[-1].id)
        for message in page.messages:
            answered_by(message, self._reply)
        return page

    def _note_read(self, chat_id: ChatId, message_id: int) -> None:
        """Remember a message, so that whatever is sent to its chat from now on sorts after it."""
        self._read[chat_id] = max(message_id, self._read.get(chat_id, 0))

    async def chats(self, limit: int = 50, *, before: int | None = None) -> list[Chat]:
        """Return the user's chats, the one with the newest message first.

        `before` continues the list: pass the last message id of the last chat. Raises `ChatError`.
        """
        return await self._history.chats(limit, before=before, token=self._local.read_token())

    async def search(
        self, text: str, limit: int = 50, *, chat: str | None = None, before: int | None = None
    ) -> FoundPage:
        """Return the newest messages of the user's chats, or of one `chat`, that have all words of
        `text`, as they are now.

        Works like `History.search`. Every message that this client knows to be accepted is among
        those that are looked at. Raises `ChatError`.
        """
        token = self._local.read_token()
        return await self._history.search(text, limit, chat=chat, before=before, token=token)

    @override
    def _reporting(self) -> Asking:
        return Asking(self.user_id, self._calls, self._local.read_token())

    # -- the connection

    async def _open(self, resources: AsyncExitStack, route: Route, token: str) -> None:
        """Connect, and take over what has to be closed with this client. Only `connect` does it."""
        await resources.enter_async_context(self._connected(route, token))
        self._resources = resources.pop_all()

    async def close(self, *, handled: bool = False) -> None:
        """Send the remaining receipts, save the state and disconnect. Doing it again does nothing.

        The event that was handed out last comes again when this state is opened again, unless
        `handled` says that the application has handled it. `async with` says so by itself if its
        block ends without an error, and no handler has failed on it.

        Raises what `State.save` raises.
        """
        self._closed = True
        async with self._closing:
            if handled:
                self._local.deal()
            await self._resources.aclose()

    @property
    def _got_through(self) -> bool:
        """Whether no handler has failed on the event that was handed out last."""
        return self._handlers.unhandled is None

    async def _abandon(self, error: BaseException) -> None:
        """Close after an error: save the state and disconnect, but send no more receipts."""
        self._closed = True
        async with self._closing:
            await self._resources.__aexit__(type(error), error, error.__traceback__)

    @asynccontextmanager
    async def _connected(self, route: Route, token: str) -> AsyncIterator[None]:
        """Connect, stay connected, and send the remaining receipts when the block ends normally."""
        running = asyncio.create_task(self._run(route, token))
        try:
            await self._until_opened()
            yield
            await self._flush()
        finally:
            running.cancel()
            await asyncio.wait({running})
            await self.keep()
        if not running.cancelled() and (fault := running.exception()):
            raise fault

    async def _until_opened(self) -> None:
        try:
            async with asyncio.timeout(self._options.timeout_s):
                await self._opened.wait()
        except TimeoutError:
            raise self._last or NotReachable(
                f"no session was opened within {self._options.timeout_s:g} s: is the address that "
                "the connect server names reachable from here?"
            ) from None
        if self._error:
            raise self._error

    async def _flush(self) -> None:
        self._local.tell_marks()
        if self._local.progress.live.caught_up and not self._error:
            with suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_S):
                    await self._local.all_told.wait()

    async def _run(self, route: Route, token: str) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                others = [
                    group.create_task(self._tell_marks()),
                    group.create_task(self._keep_often()),
                ]
                try:
                    await self._keep_connected(route, token)
                except ChatError as error:
                    self._error = error
                for task in others:
                    task.cancel()
        finally:
            self._local.end(self._error)
            self._opened.set()

    async def _keep_connected(self, route: Route, token: str) -> None:
        """Open one session after the other, until a `ChatError` that no further attempt can mend.

        If the last server named the next one, go there; otherwise ask the connect server.
        """
        ended = await self._session(route, token)
        while True:
            await self._pause(ended.error, route.backoff)
            try:
                moved = ended.told and self._transport.moved(route, ended.told)
                if moved:
                    route, token = moved, await self._lookup.token()
                else:
                    route, token = await self._lookup.find()
            except ChatError as error:
                ended = Ended(error)
                continue
            ended = await self._session(route, token)

    async def _session(self, route: Route, token: str) -> Ended:
        try:
            address = self._transport.address(route)
            opening = self._transport.open(address, token)
            ended = await self._stream.run(opening, address, self._options.device)
        except ChatError as error:  # no stream was opened
            ended = Ended(error)
        self._lookup.note(ended.error, token)
        return ended

    async def _pause(self, error: ChatError | None, backoff: BackOff) -> None:
        if error is None:
            return
        if not self._lookup.mends(error):
            raise error
        wait_s = backoff.wait_s(self._attempt, random(), error.retry_after_s)  # noqa: S311
        self._attempt += 1
        self._last = error
        self._local.tell(Reconnecting(error, wait_s))
        await asyncio.sleep(wait_s)

    def _arrived(self, item: ServerItem) -> None:
        if item.HasField("welcome"):
            self._opened.set()
        elif item.HasField("caught_up"):
            self._attempt = 0

    async def _renew(self) -> None:
        if self._lookup.renewable:
            with suppress(ChatError):  # once this stream ends, the next attempt asks again
                self._local.renew(await self._lookup.token())

    # -- in the background

    async def _tell_marks(self) -> None:
        while True:
            await self._local.to_tell.wait()
            self._local.to_tell.clear()
            self._local.tell_marks()
            await asyncio.sleep(RECEIPT_EVERY_S)

    async def _keep_often(self) -> None:
        while self._state:
            await self._local.to_keep.wait()
            await self.keep()
            await asyncio.sleep(KEEP_EVERY_S)

    async def keep(self) -> None:
        """Save the state now if it has changed. It is durable when this returns.

        The client also saves it by itself: before a message leaves, soon after an event was
        handled, and at the end.
        """
        if self._state is None:
            return
        async with self._saving:
            if self._local.to_keep.is_set():
                self._local.to_keep.clear()
                await to_its_end(self._state.save(self._local.progress.dealt.snapshot()))
