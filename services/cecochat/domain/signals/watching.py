"""What the sessions of one partition watch, and what they are told of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from cecochat.domain.errors import Refusal
from cecochat.domain.groups.rights import not_found
from cecochat.domain.log import ids
from cecochat.domain.log.ids import ChatId, UserId, is_group
from cecochat.domain.session import frames
from cecochat.domain.session.session import Session
from cecochat.domain.signals.interests import Epochs, group_of, watched_as
from cecochat.domain.signals.outbox import How, Outbox
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Presence, Typing
from cecochat.v1.messaging_pb2 import Signal
from cecochat.v1.signals_pb2 import UserSeen, UsersSeen, UserTypes

CHATS_MAX: Final = 64
"""How many chats a session can watch."""
RENEW_S: Final = 60.0
"""How often interest is renewed."""

PartitionOf = Callable[[UserId], int]
Belongs = Callable[[ChatId, UserId], bool]


class Watching:
    """The watches of one partition, and what is known of those who are watched.

    Every change of what is watched goes to the partition of that user, through `outbox`.
    """

    def __init__(
        self,
        partition: int,
        epoch: int,
        partition_of: PartitionOf,
        belongs: Belongs,
        outbox: Outbox,
    ) -> None:
        """Make it for one partition and the epoch of its owner. `belongs` says whether a user who
        lives there belongs to a group.
        """
        self._partition = partition
        self._epoch = epoch
        self._partition_of = partition_of
        self._belongs = belongs
        self._outbox = outbox
        self._watched: dict[Session, dict[ChatId, UserId]] = {}
        self._sessions: defaultdict[ChatId, set[Session]] = defaultdict(set)
        self._watchers: defaultdict[UserId, set[tuple[Session, ChatId]]] = defaultdict(set)
        self._known: dict[UserId, UserSeen] = {}
        self._epochs = Epochs()  # of those who are watched
        self._behind: set[tuple[Session, ChatId]] = set()  # sessions that had no room for presence
        self.dropped = 0  # signals that were not queued, since the client reads too slowly

    @property
    def watched(self) -> int:
        """How many users are watched."""
        return len(self._watchers)

    # -- what sessions ask

    def watches(self, session: Session) -> int:
        """Return how many chats a session watches."""
        return len(self._watched.get(session, ()))

    def new_in(self, session: Session, chat_ids: Iterable[ChatId]) -> int:
        """Return how many of these chats a session does not watch yet."""
        before = self._watched.get(session, {})
        return sum(chat_id not in before for chat_id in chat_ids)

    def watch(self, session: Session, peers: dict[ChatId, UserId]) -> None:
        """Replace what a session watches: chats, and who is watched in each. The session is told at
        once what is known.
        """
        before = self._watched.pop(session, {})
        for chat_id in before.keys() - peers.keys():
            self._leave(session, chat_id, before[chat_id])
        for chat_id in peers:
            if chat_id not in before:
                self._join(session, chat_id, peers[chat_id])
        if peers:
            self._watched[session] = peers

    def end(self, session: Session) -> None:
        """Forget a session."""
        self.watch(session, {})

    def _join(self, session: Session, chat_id: ChatId, peer: UserId) -> None:
        self._sessions[chat_id].add(session)
        if peer not in self._watchers:
            self._tell_interest(peer, "asked")
        self._watchers[peer].add((session, chat_id))
        if known := self._known.get(peer):
            self._tell(session, chat_id, known)

    def _leave(self, session: Session, chat_id: ChatId, peer: UserId) -> None:
        self._sessions[chat_id].discard(session)
        if not self._sessions[chat_id]:
            del self._sessions[chat_id]
        self._watchers[peer].discard((session, chat_id))
        if not self._watchers[peer]:
            del self._watchers[peer]
            self._known.pop(peer, None)
            self._tell_interest(peer, "ended")

    def _tell_interest(self, peer: UserId, how: How) -> None:
        to = self._partition_of(UserId(group_of(peer) or peer))
        self._outbox.interest(to, self._partition, self._epoch, peer, how)

    def renew(self) -> None:
        """Renew the interest in all who are watched, saying what is known of them, so that it is
        put right where it is wrong, and tell sessions what they had no room for. Call this every
        `RENEW_S`.
        """
        behind, self._behind = self._behind, set()
        for session, chat_id in behind:
            peer = self._watched.get(session, {}).get(chat_id)
            if peer and (known := self._known.get(peer)):
                self._tell(session, chat_id, known)
        for peer in self._watchers:
            known = self._known.get(peer)
            online: How = "online" if known and known.presence.online else "offline"
            self._tell_interest(peer, online if known else "asked")

    # -- what other servers tell

    def types(self, types: UserTypes) -> None:
        """Tell those who watch a chat that somebody else types there."""
        chat_id = ChatId(types.chat_id)
        if watching := self._sessions.get(chat_id):
            typing = Typing(active=types.active)
            chunk = frames.signal(Signal(chat_id=chat_id, user_id=types.user_id, typing=typing))
            for session in watching:
                if session.user_id != types.user_id and self._sees(session.user_id, chat_id):
                    self._push(session, chunk)

    def _sees(self, user_id: UserId, chat_id: ChatId) -> bool:
        """Return whether a user may know who types in a chat: of a group, they may have left it."""
        return not is_group(chat_id) or self._belongs(chat_id, user_id)

    def seen(self, said: UsersSeen, now_ms: int) -> None:
        """Take in what the owner of a partition knows of its users, unless a later owner has
        spoken.
        """
        if not self._epochs.counts(said.partition, said.epoch):
            return
        for user in said.users:
            if UserId(user.user_id) in self._watchers:
                self._see(UserId(user.user_id), user, now_ms)

    def _see(self, user_id: UserId, user: UserSeen, now_ms: int) -> None:
        before = self._known.get(user_id)
        if _unknown(user) and before:  # a new owner knows less than the one before
            last_ms = now_ms if before.presence.online else before.presence.last_seen_ms
            user.presence.last_seen_ms = last_ms
        if user != before:
            self._known[user_id] = user
            for session, chat_id in self._watchers[user_id]:
                self._tell(session, chat_id, user)

    def _tell(self, session: Session, chat_id: ChatId, user: UserSeen) -> None:
        """Tell a session how a user is: at the next renewal, if it has no room now."""
        if not self._push(session, _presence(chat_id, user)):
            self._behind.add((session, chat_id))

    def _push(self, session: Session, chunk: frames.Chunk) -> bool:
        """Queue a signal, but never so that a message would find no room. Returns whether it is
        queued.
        """
        if session.has_room:
            session.push(chunk)
            return True
        self.dropped += 1
        return False


def _unknown(user: UserSeen) -> bool:
    return not (user.presence.online or user.presence.last_seen_ms or user.hidden)


def _presence(chat_id: ChatId, user: UserSeen) -> frames.Chunk:
    presence = Presence() if user.hidden else user.presence
    return frames.signal(Signal(chat_id=chat_id, user_id=user.user_id, presence=presence))


def watched_in(user_id: UserId, chat_ids: Iterable[str], belongs: Belongs) -> dict[ChatId, UserId]:
    """Return who is watched in each chat of a watch: the other user of a dialog, or the group.
    Raises `Refusal`.
    """
    named = dict.fromkeys(chat_ids)
    if len(named) > CHATS_MAX:
        raise Refusal(
            errors_pb2.ERROR_CODE_TOO_LARGE,
            f"{len(named)} chats are watched, and {CHATS_MAX} are allowed: name those on the "
            "screen",
        )
    return {ids.chat_id(each): other_in(user_id, each, belongs) for each in named}


def other_in(user_id: UserId, chat_id: str, belongs: Belongs) -> UserId:
    """Return who is watched in a chat. Raises `Refusal`, also if the user does not belong to it."""
    checked = ids.chat_id(chat_id)
    if is_group(checked):
        if not belongs(checked, user_id):
            raise not_found(checked)
        return watched_as(checked)
    (peer,) = ids.authorise(user_id, checked)
    return peer
