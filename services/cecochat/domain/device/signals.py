"""What a device says and is told of typing and presence. Nothing of it has to arrive, so nothing of
it is kept, resent or acknowledged.

Times are in seconds, by any monotonic clock that the caller passes in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from cecochat.v1.errors_pb2 import Error
from cecochat.v1.messaging_pb2 import ClientFrame, Signal, SignalRefused, TypingIn, Watch

EVERY_S: Final = 3.0
"""How often to say that the user still types."""
OVER_S: Final = 6.0
"""When typing is over that was not said again."""
OVERTAKEN_S: Final = 1.0
"""How long after a message its sender's typing may still come that was said before."""


@dataclass(slots=True, frozen=True)
class Types:
    """Somebody types in a chat, or has stopped."""

    chat_id: str
    user_id: str
    active: bool


@dataclass(slots=True, frozen=True)
class IsSeen:
    """How the other user of a dialog is. `last_seen_ms` is 0 if it is not known."""

    chat_id: str
    user_id: str
    online: bool
    last_seen_ms: int


@dataclass(slots=True, frozen=True)
class IsRefused:
    """The server does not take the watch, or what was said."""

    error: Error


Told = Types | IsSeen | IsRefused


class DeviceSignals:
    """The signals of one device."""

    def __init__(self) -> None:
        self.invisible = False
        self._watched: list[str] = []
        self._taken = False  # the server takes signals in this session
        self._to_watch: float | None = None  # when to say what is watched; None: it was said
        self._to_hide = False
        self._to_say: dict[str, bool] = {}  # chat id -> whether the user types
        self._said_s: dict[str, float] = {}  # chat id -> when it was said last that the user types
        self._typing_s: dict[tuple[str, str], float] = {}  # (chat id, user id) -> until when
        self._wrote_s: dict[tuple[str, str], float] = {}  # when they wrote, not long ago

    # -- towards the server

    def watch(self, chat_ids: Iterable[str], now_s: float) -> None:
        """Watch these chats, and no others."""
        self._watched = list(dict.fromkeys(chat_ids))
        self._typing_s = {k: v for k, v in self._typing_s.items() if k[0] in self._watched}
        self._to_watch = now_s

    def watches(self, chat_id: str) -> bool:
        """Return whether a chat is watched."""
        return chat_id in self._watched

    def hide(self, invisible: bool) -> None:
        """Hide the user's presence, or show it again."""
        self.invisible, self._to_hide = invisible, True

    def types(self, chat_id: str, active: bool, now_s: float) -> None:
        """Note that the user types in a chat, or has stopped. It is said only if it is due."""
        said_s = self._said_s.get(chat_id)
        if active and (said_s is None or now_s - said_s >= EVERY_S):
            self._said_s[chat_id], self._to_say[chat_id] = now_s, True
        elif not active and said_s is not None:
            del self._said_s[chat_id]
            self._to_say[chat_id] = False

    def sent(self, chat_id: str) -> None:
        """Note that a message was sent, which ends the typing by itself."""
        self._said_s.pop(chat_id, None)
        self._to_say.pop(chat_id, None)

    def begin(self, takes_signals: bool, now_s: float) -> None:
        """Note that a session has caught up. It knows of no watch yet."""
        self._taken = takes_signals
        self._to_watch = now_s if self._watched else None
        self._to_say, self._said_s = {}, {}

    def hello(self) -> None:
        """Note that the first frame of a new session says whether the user hides."""
        self._taken = self._to_hide = False

    def outgoing(self, now_s: float) -> ClientFrame | None:
        """Return the next frame to write now, or None if there is none."""
        if not self._taken:
            return None
        frame = ClientFrame()
        if self._to_hide:
            self._to_hide, frame.invisible = False, self.invisible
        if self._to_watch is not None and self._to_watch <= now_s:
            self._to_watch = None
            frame.watch.CopyFrom(Watch(chat_ids=self._watched))
        if chat_id := next(iter(self._to_say), None):
            active = self._to_say.pop(chat_id)
            frame.typing.CopyFrom(TypingIn(chat_id=chat_id, active=active))
        return frame if frame.ByteSize() else None

    # -- from the server

    def receive(self, signal: Signal, now_s: float) -> Told | None:
        """Take in a signal. Returns None if it says nothing new."""
        chat_id, user_id = signal.chat_id, signal.user_id
        if chat_id not in self._watched:
            return None
        match signal.WhichOneof("body"):
            case "presence":
                presence = signal.presence
                return IsSeen(chat_id, user_id, presence.online, presence.last_seen_ms)
            case "typing" if signal.typing.active:
                wrote_s = self._wrote_s.get((chat_id, user_id))
                if wrote_s is not None and now_s - wrote_s < OVERTAKEN_S:
                    return None
                is_new = (chat_id, user_id) not in self._typing_s
                self._typing_s[chat_id, user_id] = now_s + OVER_S
                return Types(chat_id, user_id, True) if is_new else None
            case "typing":
                return self.stopped(chat_id, user_id)
        return None

    def refused(self, item: SignalRefused, now_s: float) -> IsRefused | None:
        """Take in a refusal. Returns None if it is said again later."""
        if item.error.retriable:
            if self._watched:
                self._to_watch = now_s + item.error.retry_after_ms / 1_000
            return None
        return IsRefused(item.error)

    def wrote(self, chat_id: str, user_id: str, now_s: float) -> Types | None:
        """Note that a message of a user came, who types no more."""
        over_s = now_s - OVERTAKEN_S
        self._wrote_s = {who: at_s for who, at_s in self._wrote_s.items() if at_s > over_s}
        self._wrote_s[chat_id, user_id] = now_s
        return self.stopped(chat_id, user_id)

    def stopped(self, chat_id: str, user_id: str) -> Types | None:
        """Note that a user has stopped typing."""
        if self._typing_s.pop((chat_id, user_id), None) is None:
            return None
        return Types(chat_id, user_id, False)

    def over(self, now_s: float) -> list[Types]:
        """Return who has stopped typing without a word."""
        over = [who for who, until_s in self._typing_s.items() if until_s <= now_s]
        return [Types(*who, False) for who in over if self._typing_s.pop(who)]

    def due_s(self, now_s: float) -> float | None:
        """Return when to call `over` and `outgoing` next; None if time alone changes nothing."""
        times_s = list(self._typing_s.values())
        if self._taken and self._to_watch is not None and self._to_watch > now_s:
            times_s.append(self._to_watch)
        return min(times_s, default=None)
