"""Who types and who is online, in the chats that a program shows."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from cecochat.client.errors import ChatError, InvalidArgument, refused
from cecochat.client.names import chat_of
from cecochat.domain.device.signals import DeviceSignals, IsRefused, IsSeen, Told, Types
from cecochat.domain.log.ids import ChatId
from cecochat.v1.messaging_pb2 import ClientFrame, ServerItem, Welcome

WATCHED_MAX = 64


@dataclass(frozen=True, slots=True)
class Typing:
    """`user_id` types in a chat, or has stopped."""

    chat_id: str
    user_id: str
    active: bool


@dataclass(frozen=True, slots=True)
class Presence:
    """How the other user of a dialog is.

    `last_seen` is a time in UTC, or None: the user is online, hides it, or it is not known.
    """

    chat_id: str
    user_id: str
    online: bool
    last_seen: datetime | None


@dataclass(frozen=True, slots=True)
class SignalRefused:
    """The server does not take what the program watches or says. What was watched before stays."""

    error: ChatError


Signal = Typing | Presence | SignalRefused


class LocalSignals:
    """The signals of the device of this process: what to write of them, and what to tell."""

    def __init__(self, invisible: bool, to_write: Callable[[], None]) -> None:
        self.to_write = to_write
        self.device = DeviceSignals()
        self.device.invisible = invisible
        self.ended = False
        self._news: dict[tuple[type[Signal], str, str], Signal] = {}
        self._has_news = asyncio.Event()

    # -- towards the server

    def hello(self, frame: ClientFrame) -> ClientFrame:
        """Add to the first frame of a session what has to be said there."""
        self.device.hello()
        if self.device.invisible:
            frame.invisible = True
        return frame

    def begin(self, welcome: Welcome) -> None:
        """Note that a session has caught up."""
        self.device.begin(welcome.takes_signals, time.monotonic())

    def outgoing(self) -> ClientFrame | None:
        """Return the next frame to write now, or None if there is none."""
        return self.device.outgoing(time.monotonic())

    def sent(self, chat_id: str) -> None:
        """Note that a message is on its way."""
        self.device.sent(chat_id)

    # -- from the server

    def receive(self, item: ServerItem) -> None:
        """Take in an item of the stream that concerns signals."""
        now_s = time.monotonic()
        if item.HasField("signal"):
            self._tell(self.device.receive(item.signal, now_s))
        elif item.HasField("signal_refused"):
            self._tell(self.device.refused(item.signal_refused, now_s))
            self._has_news.set()  # so that whoever waits asks again in time
        elif item.HasField("delivered") and item.delivered.event.HasField("message"):
            event = item.delivered.event
            self._tell(self.device.wrote(event.chat_id, event.user_id, now_s))

    def end(self) -> None:
        """End the iteration, once what there is has been read."""
        self.ended = True
        self._has_news.set()

    # -- towards the application

    def watch(self, chat_ids: list[ChatId]) -> None:
        """Watch these chats, and no others."""
        self.device.watch(chat_ids, time.monotonic())
        self._news = {key: news for key, news in self._news.items() if key[1] in chat_ids}
        self.to_write()

    def _tell(self, told: Told | None) -> None:
        if told is None:
            return
        signal = _signal(told)
        about = ("", "") if isinstance(told, IsRefused) else (told.chat_id, told.user_id)
        self._news[type(signal), *about] = signal
        self._has_news.set()

    async def next(self) -> Signal | None:
        """Return the next signal, or None at the end."""
        while not self._news and not self.ended:
            self._has_news.clear()
            await self._wait()
        return self._news.pop(next(iter(self._news))) if self._news else None

    async def _wait(self) -> None:
        """Wait for news, or until time alone makes some."""
        now_s = time.monotonic()
        due_s = self.device.due_s(now_s)
        with suppress(TimeoutError):
            async with asyncio.timeout(None if due_s is None else max(0.0, due_s - now_s)):
                await self._has_news.wait()
        for types in self.device.over(time.monotonic()):
            self._tell(types)
        self.to_write()


class Signals:
    """The signals of a client: `client.signals`. Iterate over it, in one loop at a time.

        alice.signals.watch(["bob"])
        async for signal in alice.signals:
            ...

    They say how things are, not what has happened: of several about one thing, a program that is
    slow gets the last. They may be lost, and say nothing while there is no connection.
    """

    def __init__(self, user_id: str, local: LocalSignals) -> None:
        self._user_id = user_id
        self._local = local

    def watch(self, chats: Iterable[str]) -> None:
        """Watch the chats that the program shows, named by user or chat, and no others.

        For each dialog that is new comes a `Presence`, if the server takes signals. Of groups it
        tells only who types. Watch at most 64.
        Raises `InvalidArgument`.
        """
        chat_ids = [chat_of(self._user_id, chat) for chat in chats]
        if len(chat_ids) > WATCHED_MAX:
            raise InvalidArgument(f"{len(chat_ids)} chats are too many: watch {WATCHED_MAX}")
        self._local.watch(chat_ids)

    def typing(self, chat: str, active: bool = True) -> None:
        """Say that the user types in a chat; call it at each key. `active=False`: has stopped.

        A message ends it, too. Raises `InvalidArgument`.
        """
        self._local.device.types(chat_of(self._user_id, chat), active, time.monotonic())
        self._local.to_write()

    def hide(self, invisible: bool = True) -> None:
        """Hide from everybody whether the user is online, or show it again.

        To hide it from the first moment on, pass `invisible=True` to `connect`.
        """
        self._local.device.hide(invisible)
        self._local.to_write()

    def __aiter__(self) -> Signals:
        return self

    async def __anext__(self) -> Signal:
        """Return the next signal."""
        if (signal := await self._local.next()) is None:
            raise StopAsyncIteration
        return signal


def _signal(told: Told) -> Signal:
    match told:
        case Types(chat_id, user_id, active):
            return Typing(chat_id, user_id, active)
        case IsSeen(chat_id, user_id, online, last_ms):
            last_seen = datetime.fromtimestamp(last_ms / 1_000, UTC) if last_ms else None
            return Presence(chat_id, user_id, online, last_seen)
        case IsRefused(error):
            return SignalRefused(refused(error))
