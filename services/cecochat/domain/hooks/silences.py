"""Users of one partition who have unread messages and no session: of whom to tell, once a silence.

A silence begins with a message that a user has not read while no session of theirs is there, and
ends when one is there again or a receipt of theirs comes. What is told is remembered by whoever
asks (`changes`), so that a silence is not told again after a restart.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from cecochat.domain.hooks.told import UNREAD, Told
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.place import Place

ASKED_MAX: Final = 100
"""About how many users to ask at once."""
ASK_AGAIN_MS: Final = 2_000
SHOWN_MS: Final = 60_000
"""A session that is still there so long after it was given a message has shown it: a connection
that is dead would have been found out by then.
"""


class Unread(NamedTuple):
    """A message that its recipient may not have read."""

    chat_id: ChatId
    message_id: int
    sender_id: UserId
    place: Place  # of its record
    appended_at_ms: int


class Seen(NamedTuple):
    """What the owner of a user's partition knows of the user's sessions."""

    sessions: Mapping[str, int] = {}  # id -> up to which offset it was given everything
    silent_ms: int = 0  # for how long no session has been there; 0: one is, or is about to begin
    last_session: str = ""  # the one that ended last; empty: not known


class Count(NamedTuple):
    """What a user has not read in a chat."""

    unread: int
    is_muted: bool = False


Counts = Mapping[ChatId, Count]


class Silence(NamedTuple):
    """A silence that is told, or is about to be: it is for good once it is stored."""

    id: str  # of the webhook
    chat_id: str  # of the last message
    message_id: int
    sender_id: str
    unread: int  # in that chat
    total_unread: int
    at_ms: int  # when it was decided
    read_below: int  # the offsets below this one were read by then
    last_session: str
    is_taken: bool = False  # the endpoint has it, or never takes it
    is_over: bool = False

    def encode(self) -> bytes:
        """Return it for a store."""
        return json.dumps(self._asdict(), separators=(",", ":")).encode()

    @classmethod
    def decode(cls, value: bytes) -> Silence:
        """Return what was stored. Fields of later versions are left out."""
        fields = json.loads(value)
        return cls(**{name: fields[name] for name in cls._fields if name in fields})

    def told(self, user_id: UserId) -> Told:
        """Return the webhook. Those of one user are sent one after the other."""
        data: dict[str, Any] = {
            "userId": user_id,
            "chatId": self.chat_id,
            "messageId": str(self.message_id),
            "senderId": self.sender_id,
            "unreadCount": self.unread,
            "totalUnreadCount": self.total_unread,
        }
        return Told(self.id, UNREAD, user_id, self.at_ms, data)


@dataclass(slots=True)
class _Waiting:
    """A user with messages of which it is not known yet whether they have to be told."""

    ask_ms: int
    chats: dict[ChatId, Unread] = field(default_factory=dict)  # the last one of each
    # Since when, ms, a session is known to have been given everything up to an offset.
    given: dict[str, tuple[int, int]] = field(default_factory=dict)


class Silences:
    """Decides of whom to tell. Times are ms since 1970 by the clock of the server, and the log's in
    `Unread`.

    Feed it the log with `message`, `receipt` and `read_to`. Note the end of the log, read up to
    below there, ask the owner about those whom `due` names, and give the answers to `seen`. Count
    for those who are away, then do the same again, and `decide`: what was read before that is not
    told. Store the `changes` before what they say is sent, and before `place` is committed.
    """

    def __init__(self, told: Mapping[UserId, Silence], place: Place) -> None:
        self._told = dict(told)  # those that are over, too, while what they tell may be read again
        self._read = place
        self._waiting: dict[UserId, _Waiting] = {}
        self._asks: list[tuple[int, UserId]] = []  # a heap; those that have changed are stale
        self._changed: set[UserId] = set()

    # -- the log

    def message(self, user_id: UserId, unread: Unread, delay_ms: int) -> None:
        """Take in a message to a user of this partition."""
        told = self._told.get(user_id)
        if told and unread.place.offset < told.read_below:
            return  # it was read again, and is part of what was told
        waiting = self._waiting.get(user_id)
        if waiting is None:
            waiting = self._waiting[user_id] = _Waiting(0)
            self._ask(user_id, unread.appended_at_ms + delay_ms)
        waiting.chats[unread.chat_id] = unread

    def receipt(self, user_id: UserId, chat_id: ChatId, up_to: int, offset: int) -> None:
        """Take in that a device of a user of this partition has received or read a chat. What was
        to be told of that and is not sent yet is not sent any more.
        """
        told = self._told.get(user_id)
        if told and offset >= told.read_below:
            is_read = chat_id == told.chat_id and up_to >= told.message_id
            is_done = told.is_taken or is_read
            self._change(user_id, told._replace(is_over=True, is_taken=is_done))
        if waiting := self._waiting.get(user_id):
            last = waiting.chats.get(chat_id)
            if last and last.message_id <= up_to:
                self._drop(user_id, chat_id)

    def read_to(self, place: Place) -> None:
        """Note that every record below `place` was taken in."""
        self._read = place

    @property
    def read_below(self) -> int:
        """The offsets below this one were taken in."""
        return self._read.offset

    @property
    def place(self) -> Place:
        """From where to go on after a restart, once all `changes` are stored."""
        all_chats = (waiting.chats.values() for waiting in self._waiting.values())
        places = (unread.place for chats in all_chats for unread in chats)
        return min(places, key=lambda each: each.offset, default=self._read)

    # -- whom to ask about

    def due(self, now_ms: int) -> list[UserId]:
        """Return users about whom to ask now. They are named again after a while."""
        found: dict[UserId, None] = {}
        while self._asks and self._asks[0][0] <= now_ms and len(found) < ASKED_MAX:
            ask_ms, user_id = heapq.heappop(self._asks)
            waiting = self._waiting.get(user_id)
            if waiting and waiting.ask_ms == ask_ms:
                found[user_id] = None
        for user_id in found:
            self._ask(user_id, now_ms + ASK_AGAIN_MS)
        return list(found)

    @property
    def next_ms(self) -> int | None:
        """When somebody is due; None: not before a message comes."""
        return self._asks[0][0] if self._asks else None

    def _ask(self, user_id: UserId, at_ms: int) -> None:
        self._waiting[user_id].ask_ms = at_ms
        heapq.heappush(self._asks, (at_ms, user_id))

    def seen(self, user_id: UserId, seen: Seen, below: int, delay_ms: int, now_ms: int) -> bool:
        """Take in what the owner says of a user, when it had read all below the offset `below`, as
        has this. Returns whether the user is away for `delay_ms`, and that was not told yet.
        """
        waiting = self._waiting.get(user_id)
        if waiting is None:
            return False
        if not seen.silent_ms:
            self._end(user_id)
            self._ask(user_id, now_ms + ASK_AGAIN_MS)
            self._give(user_id, seen.sessions, now_ms)
            return False
        waiting.given.clear()
        told = self._told.get(user_id)
        if told and seen.last_session and seen.last_session != told.last_session:
            told = self._end(user_id)
        if told and not told.is_over:
            self.dismiss(user_id, below)
            return False
        if told and not told.is_taken:
            return False  # one after the other
        if seen.silent_ms < delay_ms:
            self._ask(user_id, now_ms + delay_ms - seen.silent_ms)
            return False
        return True

    def _give(self, user_id: UserId, sessions: Mapping[str, int], now_ms: int) -> None:
        """Note what sessions were given, and drop what one of them has had for long enough."""
        waiting = self._waiting[user_id]
        given, waiting.given = waiting.given, {}
        shown_below = 0
        for session_id, position in sessions.items():
            since_ms, had = given.get(session_id, (now_ms, position))
            if now_ms - since_ms >= SHOWN_MS:
                shown_below = max(shown_below, had + 1)
                since_ms, had = now_ms, position
            waiting.given[session_id] = since_ms, had
        self.dismiss(user_id, shown_below)

    # -- what to tell

    def choose(self, user_id: UserId, counts: Counts, below: int) -> Unread | None:
        """Return the newest message of a user below an offset that is worth telling."""
        waiting = self._waiting.get(user_id)
        found = [
            each
            for each in (waiting.chats.values() if waiting else ())
            if each.place.offset < below and _is_worth(counts.get(each.chat_id))
        ]
        return max(found, key=lambda each: each.message_id, default=None)

    def decide(
        self, user_id: UserId, last_session: str, counts: Counts, below: int, now_ms: int
    ) -> bool:
        """Decide to tell of a user who is away, as `seen` has just said. Returns whether there is
        something to tell: then it is among `changes`, and is told once these are stored.
        """
        unread = self.choose(user_id, counts, below)
        if unread is None:
            return False
        self.dismiss(user_id, below)
        told = Silence(
            f"unread-{unread.message_id}-{user_id}",
            unread.chat_id,
            unread.message_id,
            unread.sender_id,
            counts[unread.chat_id].unread,
            sum(each.unread for each in counts.values() if not each.is_muted),
            now_ms,
            below,
            last_session,
        )
        self._change(user_id, told)
        return True

    def dismiss(self, user_id: UserId, below: int) -> None:
        """Note that a user's messages below this offset need not be told."""
        if waiting := self._waiting.get(user_id):
            for chat_id, last in list(waiting.chats.items()):
                if last.place.offset < below:
                    self._drop(user_id, chat_id)

    def _drop(self, user_id: UserId, chat_id: ChatId) -> None:
        waiting = self._waiting[user_id]
        del waiting.chats[chat_id]
        if not waiting.chats:
            del self._waiting[user_id]

    # -- what was told

    @property
    def untaken(self) -> list[UserId]:
        """Whose silences have to be sent."""
        return [user_id for user_id, each in self._told.items() if not each.is_taken]

    def to_send(self, user_id: UserId) -> Silence | None:
        """Return what has to be sent of a user; None: nothing, or not any more."""
        told = self._told.get(user_id)
        return None if told is None or told.is_taken else told

    def taken(self, user_id: UserId, id_: str) -> None:
        """Note that the endpoint has this webhook, or never takes it."""
        told = self._told.get(user_id)
        if told and told.id == id_:
            self._change(user_id, told._replace(is_taken=True))

    def _end(self, user_id: UserId) -> Silence | None:
        """Note that a session was there. What has not been sent yet still is."""
        told = self._told.get(user_id)
        if told and not told.is_over:
            self._change(user_id, told._replace(is_over=True))
        return self._told.get(user_id)

    def _change(self, user_id: UserId, told: Silence) -> None:
        self._told[user_id] = told
        self._changed.add(user_id)

    def changes(self) -> dict[UserId, Silence]:
        """Return what has changed since this was called last, to be stored."""
        changed, self._changed = self._changed, set()
        return {user_id: self._told[user_id] for user_id in changed}

    def forget(self, below: int) -> None:
        """Note that no record below this offset is read again."""
        done = [
            user_id
            for user_id, told in self._told.items()
            if told.is_over and told.is_taken and told.read_below <= below
        ]
        for user_id in done:
            if user_id not in self._changed:
                del self._told[user_id]


def _is_worth(count: Count | None) -> bool:
    return count is not None and count.unread > 0 and not count.is_muted
