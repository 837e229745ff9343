"""How the users of one partition are: the owner has all of their sessions, so it alone knows."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from cecochat.domain.log.ids import UserId
from cecochat.domain.session.session import Session
from cecochat.domain.signals.interests import INTERESTS_MAX, LEASE_S, Epochs, group_of
from cecochat.domain.signals.outbox import Outbox
from cecochat.v1.events_pb2 import Presence as Seen
from cecochat.v1.signals_pb2 import Interest, UserSeen

GRACE_S: Final = 1.0
"""How long a user without a session stays online, so that a reconnect is not seen."""
SETTLE_S: Final = 5.0
"""How long after its takeover an owner calls nobody offline, since users are coming back."""
LEFT_MAX: Final = 100_000
"""Of how many users a partition remembers when they left."""


@dataclass(slots=True)
class _Watched:
    """Who is interested in a user, and what they were told last."""

    until_s: dict[int, float] = field(default_factory=dict)  # by partition
    told: UserSeen | None = None


class Presence:
    """The presence of the users of one partition.

    Times are in seconds by a monotonic clock, if their names say nothing else. Each change goes to
    the partitions that are interested, through `outbox`.
    """

    def __init__(self, partition: int, epoch: int, outbox: Outbox, now_s: float) -> None:
        self._partition = partition
        self._epoch = epoch
        self._outbox = outbox
        self._settles_s: float | None = now_s + SETTLE_S  # None: it has settled
        self._sessions: dict[UserId, list[Session]] = {}
        self._leaving: dict[UserId, tuple[float, UserSeen]] = {}  # until when, and how it left
        self._left: OrderedDict[UserId, UserSeen] = OrderedDict()
        self._watched: dict[UserId, _Watched] = {}
        self._epochs = Epochs()  # of those who watch

    # -- sessions

    def begin(self, session: Session) -> None:
        """Note that a session has begun, or that it hides its user or does not any more."""
        sessions = self._sessions.setdefault(session.user_id, [])
        if session not in sessions:
            sessions.append(session)
        self._leaving.pop(session.user_id, None)
        self._left.pop(session.user_id, None)
        self._look(session.user_id)

    def end(self, session: Session, now_s: float, now_ms: int) -> None:
        """Note that a session has ended."""
        user_id, sessions = session.user_id, self._sessions.get(session.user_id, [])
        if session not in sessions:
            return
        sessions.remove(session)
        if sessions:
            self._look(user_id)
        else:
            del self._sessions[user_id]
            last_ms = 0 if session.invisible else now_ms
            left = _seen(user_id, last_seen_ms=last_ms, hidden=session.invisible)
            self._leaving[user_id] = now_s + GRACE_S, left

    # -- those who are interested

    def interested(self, interest: Interest, said_s: float) -> None:
        """Take in who watches users of this partition, as it was said at `said_s`."""
        if not self._epochs.counts(interest.partition, interest.epoch):
            return
        for user_id in map(UserId, interest.ended_ids):
            self._forget(user_id, interest.partition)
        for user_id in map(UserId, interest.asked_ids):
            if self._note(user_id, interest.partition, said_s):
                self._answer(user_id, interest.partition, None)
        for ids, online in ((interest.online_ids, True), (interest.offline_ids, False)):
            for user_id in map(UserId, ids):
                if self._note(user_id, interest.partition, said_s):
                    self._answer(user_id, interest.partition, online)

    def _note(self, user_id: UserId, partition: int, said_s: float) -> bool:
        """Note an interest in a user. Returns whether there was room for it."""
        if group_of(user_id):
            return False
        watched = self._watched.get(user_id)
        if watched is None:
            if len(self._watched) >= INTERESTS_MAX:
                return False
            watched = self._watched[user_id] = _Watched()
        watched.until_s[partition] = said_s + LEASE_S
        return True

    def _answer(self, user_id: UserId, to: int, known_online: bool | None) -> None:
        """Tell a partition how a user is, unless it knows."""
        now, watched = self._state(user_id), self._watched[user_id]
        if now is None:
            return  # all are told once this has settled
        self._look(user_id)
        if now.presence.online != known_online:
            watched.told = now
            self._outbox.seen(to, self._partition, self._epoch, now)

    def _forget(self, user_id: UserId, partition: int) -> None:
        if watched := self._watched.get(user_id):
            watched.until_s.pop(partition, None)
            if not watched.until_s:
                del self._watched[user_id]

    # -- what follows

    def pass_time(self, now_s: float) -> None:
        """Let those be offline who have not come back. Call this often."""
        if self._settles_s is not None and now_s >= self._settles_s:
            self._settles_s = None
            for user_id in self._watched:
                self._look(user_id)
        for user_id, (until_s, left) in list(self._leaving.items()):
            if until_s > now_s:
                break  # they are in this order
            del self._leaving[user_id]
            self._left[user_id] = left
            if len(self._left) > LEFT_MAX:
                self._left.popitem(last=False)
            self._look(user_id)

    def expire(self, now_s: float) -> None:
        """Forget the interests that were not renewed. It looks at all of them."""
        for user_id, watched in list(self._watched.items()):
            for partition in [p for p, until_s in watched.until_s.items() if until_s < now_s]:
                self._forget(user_id, partition)

    def _state(self, user_id: UserId) -> UserSeen | None:
        """Return how a user is; None if that is not known yet."""
        if sessions := self._sessions.get(user_id):
            hidden = any(session.invisible for session in sessions)
            return _seen(user_id, online=not hidden, hidden=hidden)
        if leaving := self._leaving.get(user_id):
            hidden = leaving[1].hidden
            return _seen(user_id, online=not hidden, hidden=hidden)
        if left := self._left.get(user_id):
            return left
        return _seen(user_id) if self._settles_s is None else None

    def _look(self, user_id: UserId) -> None:
        """Tell all who are interested if there is something new."""
        watched, now = self._watched.get(user_id), self._state(user_id)
        if watched and now and now != watched.told:
            watched.told = now
            for partition in watched.until_s:
                self._outbox.seen(partition, self._partition, self._epoch, now)


def _seen(
    user_id: UserId, *, online: bool = False, last_seen_ms: int = 0, hidden: bool = False
) -> UserSeen:
    presence = Seen(online=online, last_seen_ms=last_seen_ms)
    return UserSeen(user_id=user_id, presence=presence, hidden=hidden)
