"""The client: one device of a user, connected for as long as its context lasts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from random import random
from typing import Any
from uuid import uuid4

from cecochat.client.backoff import BackOff
from cecochat.client.errors import ChatError, NotReachable, NotRead, StateUnusable
from cecochat.client.events import Chat, Event, Page, Reconnecting
from cecochat.client.history import History, HistoryCalls
from cecochat.client.local import LocalDevice
from cecochat.client.lookup import Lookup, Route, Token
from cecochat.client.names import chat_of
from cecochat.client.state import FileState, State
from cecochat.client.stream import Ended, Stream
from cecochat.client.tracing import answered, refused, sending
from cecochat.domain.device.device import Device
from cecochat.v1 import events_pb2
from cecochat.v1.messaging_pb2 import Send, ServerItem

UNANSWERED_MAX = 1_000  # sends that wait for their acknowledgement
UNREAD_MAX = 10 * UNANSWERED_MAX  # sends that the application has not come round to
RECEIPT_EVERY_S = 0.2
KEEP_EVERY_S = 0.2
FLUSH_S = 3.0


@dataclass(frozen=True, slots=True)
class Options:
    """See `connect`."""

    device: str = "python"
    listen: bool = True
    receipts: bool = True
    timeout_s: float | None = 10.0
    buffer_max_bytes: int = 1 << 20


@asynccontextmanager
async def connect(
    connect_url: str,
    token: Token,
    *,
    state: State | Path | None = None,
    device: str = "python",
    listen: bool = True,
    receipts: bool = True,
    timeout_s: float | None = 10.0,
    buffer_max_bytes: int = 1 << 20,
    ca_file: Path | None = None,
) -> AsyncIterator[Client]:
    """Connect a device of the user that `token` names, and keep it connected.

    - `token`: a token, or an async function that gets one; it is called for each connection and
      before one expires.
    - `state`: where the device's state is kept (a path: a file). With it, a restarted process gets
      exactly what it missed and sends again what was not acknowledged; an event that was being
      dealt with when the process died comes again. Without: what happens from now on.
    - `device`: a label for people, at most 64 bytes.
    - `listen`: False for an application that only sends and never iterates.
    - `receipts`: whether senders are told that a message is delivered, once the application has
      dealt with it, which is when it asks for the next event.
    - `timeout_s`: how long to try the first connection; None: for ever.
    - `buffer_max_bytes`: what may wait for the application; what is more is fetched again later.
    - `ca_file`: who signs the servers' certificates, where the URL is `https://` (all is over TLS
      then); default: what SSL_CERT_FILE names, else the system's authorities.

    Raises `NotReachable`, `Refused` (not this user, not this token), `StateUnusable`.
    """
    options = Options(device, listen, receipts, timeout_s, buffer_max_bytes)
    kept = FileState(state) if isinstance(state, Path) else state
    lookup = Lookup(connect_url, token, ca_file)
    calls = HistoryCalls(lookup)
    try:
        route, first_token = await _first_route(lookup, timeout_s)
        client = Client(lookup, calls, kept, _device(kept, route.user_id), options)
        async with client._connected(route, first_token):
            yield client
    finally:
        if kept:
            kept.close()
        await calls.close()
        await lookup.close()


async def _first_route(lookup: Lookup, timeout_s: float | None) -> tuple[Route, str]:
    begun_s = time.monotonic()
    for attempt in count():
        try:
            return await lookup.find()
        except ChatError as error:
            wait_s = BackOff().wait_s(attempt, random(), error.retry_after_s)  # noqa: S311
            tried_s = time.monotonic() + wait_s - begun_s
            late = timeout_s is not None and tried_s > timeout_s
            if late or not error.retriable or (error.code == "token_expired"):
                raise
        await asyncio.sleep(wait_s)
    raise AssertionError("counted to the end")


def _device(state: State | None, user_id: str) -> Device:
    kept = state.load() if state else None
    if kept is None:
        return Device(user_id, device_id=uuid4().hex)
    try:
        device = Device.restored(kept)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise StateUnusable(f"the kept state is damaged ({error!r}): delete it") from None
    if device.user_id != user_id:
        raise StateUnusable(
            f"the kept state is of {device.user_id}, the token of {user_id}: keep one a user"
        )
    return device


class Client:
    """A connected device, made by `connect`. Iterate over it for what happens; one iteration at a
    time. It reconnects and resumes by itself, and says so by events.

        async with connect(url, token) as alice:
            await alice.send("bob", "hello")
            async for event in alice:
                ...
    """

    def __init__(
        self,
        lookup: Lookup,
        calls: HistoryCalls,
        state: State | None,
        device: Device,
        options: Options,
    ) -> None:
        self._lookup = lookup
        self._calls = calls
        self._state = state
        self._options = options
        self._local = LocalDevice(
            device,
            listen=options.listen,
            receipts=options.receipts,
            buffer_max_bytes=options.buffer_max_bytes,
        )
        self._history = History(device.user_id, calls)
        self._stream = Stream(self._local, calls, self.keep, self._renew, self._arrived)
        self._room = asyncio.Semaphore(UNANSWERED_MAX)
        self._saving = asyncio.Lock()
        self._opened = asyncio.Event()
        self._attempt = 0
        self._last: ChatError | None = None  # why the last session or attempt ended
        self._error: ChatError | None = None  # what ended the client
        self._read: dict[str, int] = {}  # chat id -> the highest id read from the history

    @property
    def user_id(self) -> str:
        """Whose device this is."""
        return self._local.user_id

    @property
    def log_id(self) -> str:
        """Names the system that it is connected to: its log, which outlives servers."""
        return self._local.welcome.position.log_id

    # -- sending

    async def send(self, to: str, text: str, *, client_message_id: str | None = None) -> int:
        """Send a message to a user or a chat; returns its id once it is accepted for good.

        While there is no connection, it waits. If it is cancelled, the message may still be
        accepted; the same `client_message_id` (1 to 64 bytes) again is the same message.

        Raises `SendRejected`, `Closed`, `NotRead`, or what ended the client.
        """
        return await (await self.post(to, text, client_message_id=client_message_id))

    async def post(
        self, to: str, text: str, *, client_message_id: str | None = None
    ) -> asyncio.Future[int]:
        """Like `send`, but returns once the message is queued, with its future id: for many
        messages in a row. It waits while 1,000 are unanswered.
        """
        send = Send(
            client_message_id=client_message_id or uuid4().hex,
            chat_id=chat_of(self.user_id, to),
            message=events_pb2.Message(text=text),
        )
        send.seen_id = self._read.get(send.chat_id, 0)
        await self._room.acquire()
        span = sending(send)
        try:
            self._check_open()
            answer = self._local.submit(send)
        except ChatError as error:
            self._room.release()
            refused(span, error)
            raise
        if span.is_recording():
            answer.add_done_callback(partial(answered, span))
        answer.add_done_callback(lambda _: self._room.release())
        return answer

    def _check_open(self) -> None:
        if self._error:
            raise self._error
        if self._options.listen and len(self._local.progress.dealt.outbox) > UNREAD_MAX:
            raise NotRead

    def mark_read(self, chat: str, message_id: int) -> None:
        """Tell the others that this user has read up to that message; marks are joined."""
        self._note_read(chat_of(self.user_id, chat), message_id)
        self._local.read_up_to(chat_of(self.user_id, chat), message_id)

    # -- receiving

    def __aiter__(self) -> Client:
        return self

    async def __anext__(self) -> Event:
        """The next event; asking for it says that the one before is dealt with."""
        if (event := await self._local.next_event()) is not None:
            return event
        if self._error:
            raise self._error
        raise StopAsyncIteration

    # -- history

    async def history(
        self, chat: str, limit: int = 50, *, before: int | None = None, after: int | None = None
    ) -> Page:
        """The `limit` messages just below the id `before`, or just above `after`, or the newest.

        Holds everything that this client was told is accepted. Raises `ChatError`.
        """
        page = await self._history.messages(
            chat, limit, before=before, after=after, token=self._local.own_writes()
        )
        for message in page.messages:
            self._note_read(message.chat_id, message.id)
        return page

    def _note_read(self, chat_id: str, message_id: int) -> None:
        """What is sent there from now on sorts after it."""
        self._read[chat_id] = max(message_id, self._read.get(chat_id, 0))

    async def chats(self, limit: int = 50, *, before: int | None = None) -> list[Chat]:
        """The user's chats, the one with the newest message first, below a last message id."""
        return await self._history.chats(limit, before=before, token=self._local.own_writes())

    # -- the connection

    @asynccontextmanager
    async def _connected(self, route: Route, token: str) -> AsyncIterator[None]:
        """Connected when it is entered; what is left to tell is told when it is left in peace."""
        running = asyncio.create_task(self._run(route, token))
        try:
            await self._until_opened()
            yield
            self._local.deal()
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
            raise self._last or NotReachable("no session could be opened in time") from None
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
        """Session after session: where a server said to go on, which saves asking, else where the
        connect server says. Raises the `ChatError` that no further attempt can mend.
        """
        ended = await self._session(route, token)
        while True:
            await self._pause(ended.error, route.backoff)
            try:
                if ended.address:
                    route = replace(route, messaging=ended.address)
                    token = await self._lookup.token()
                else:
                    route, token = await self._lookup.find()
            except ChatError as error:
                ended = Ended(error)
                continue
            ended = await self._session(route, token)

    async def _session(self, route: Route, token: str) -> Ended:
        options = self._options
        ended = await self._stream.run(
            route.messaging, token, options.device, self._lookup.credentials
        )
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
            with suppress(ChatError):  # the stream ends in a while, and connecting asks again
                self._local.renew(await self._lookup.token())

    # -- what goes on beside it

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
        """Keep the state now, if it has changed; durable when this returns. It is kept by itself
        before a message leaves, soon after events are dealt with, and at the end.
        """
        if self._state is None:
            return
        async with self._saving:
            if self._local.to_keep.is_set():
                self._local.to_keep.clear()
                await _to_its_end(self._state.save(self._local.progress.dealt.snapshot()))


async def _to_its_end(saving: Coroutine[Any, Any, None]) -> None:
    """A save that is cut off would meet the next one; so it ends first, then the cancellation."""
    task = asyncio.create_task(saving)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
