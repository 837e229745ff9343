"""What clients of one partition send to groups that have their home in others: it is asked for
there, and acknowledged when its copy is read here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Protocol

from cecochat.domain.errors import Refusal
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.ownership import refusals
from cecochat.domain.ownership.asks import Answer, Asked, AskedSend, Known, Left, Result, Taken
from cecochat.domain.ownership.sent import Key, content_of
from cecochat.domain.session import frames
from cecochat.domain.session.session import Session
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import Send

AT_ONCE = 256  # sends in a request
AT_ONCE_BYTES = 256 << 10
WAIT_MAX_BYTES = 512 << 10
"""How much may wait for one home before no more is taken."""
AGAIN_MS = 2_000
"""After that, a send whose copy has not come is asked for again: the home may have a new owner."""


@dataclass(slots=True)
class Ask:
    """A send that is asked for."""

    send: Send
    content: int
    sessions: list[Session]
    since_ms: int
    verdict: Refusal | None = None
    taken: bool = False
    known: Known | None = None

    @property
    def size(self) -> int:
        """Its size in bytes."""
        return self.send.ByteSize()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody still waits who was not refused anything since."""
        return any(not (each.closed or each.blocked) for each in self.sessions)


class Asker(Protocol):
    """What the owner of the senders' partition knows."""

    partition: int
    fold: Fold
    epoch: Place | None
    sessions: dict[UserId, list[Session]]

    @property
    def ready(self) -> bool: ...

    @property
    def place(self) -> Place: ...

    @property
    def here(self) -> Here: ...


class UnderWay(NamedTuple):
    """A request whose answer is awaited."""

    asked: Asked
    keys: list[Key]


@dataclass(slots=True)
class Line:
    """All that is asked of one home, in order. Those that it has taken are the first."""

    asks: dict[Key, Ask] = field(default_factory=dict)
    epoch: Place = NOWHERE  # of its owner
    number: int = 0
    under_way: UnderWay | None = None
    moved_ms: int = 0  # when an answer or a copy came last
    lacks_above: Place | None = None  # copies of what the home has above this are missing here
    size: int = 0  # of the sends, in bytes

    def add(self, key: Key, ask: Ask) -> None:
        """Ask for one more send."""
        self.asks[key] = ask
        self.size += ask.size

    def drop(self, key: Key) -> Ask | None:
        """Ask no more for a send, and return it, if it was asked for."""
        ask = self.asks.pop(key, None)
        self.size -= ask.size if ask else 0
        return ask

    def next_keys(self) -> Iterator[Key]:
        """The sends of the next request."""
        size = 0
        waiting = (each for each in self.asks.items() if not each[1].taken)
        for key, ask in islice(waiting, AT_ONCE):
            yield key
            size += ask.size
            if size > AT_ONCE_BYTES:
                return


class Asking:
    """The asker's side of groups.

    One request to each home is under way, with all that waits. If a send is refused there, later
    ones of its user are left, so that none overtakes it.
    """

    def __init__(self, owner: Asker) -> None:
        self._owner = owner
        self._lines: dict[int, Line] = {}

    @property
    def waits_since_ms(self) -> int | None:
        """Return since when the send waits that has waited the longest; None: none waits."""
        first = (next(iter(line.asks.values())) for line in self._lines.values() if line.asks)
        return min((ask.since_ms for ask in first), default=None)

    def has_room(self, chat_id: str) -> bool:
        """Whether one more send to a group may be taken on."""
        line = self._lines.get(self._owner.here.home_of(chat_id))
        return line is None or line.size <= WAIT_MAX_BYTES

    def take(
        self, session: Session, send: Send, now_ms: int, verdict: Refusal | None = None
    ) -> None:
        """Take on a send to a group that has its home elsewhere, and that `settle` did not settle:
        its copy was not read here, or its client would know. The home refuses it with `verdict`,
        unless it was accepted there before.
        """
        home = self._owner.here.home_of(send.chat_id)
        line = self._lines.setdefault(home, Line(moved_ms=now_ms))
        key = (session.user_id, send.client_message_id)
        if first := line.asks.get(key):
            _join(first, session, send)
        else:
            line.add(key, Ask(send, content_of(send), [session], now_ms, verdict))

    # -- requests

    def due(self) -> Iterator[tuple[int, Asked]]:
        """The requests to make now, each with the home that it is for. Each is under way from now
        on, until `answered` or `given_up` is called.
        """
        for home, line in self._lines.items():
            if not line.under_way and self._may_ask(home) and (asked := self._ask(home, line)):
                yield home, asked

    def _may_ask(self, home: int) -> bool:
        """While copies are missing here, the home cannot know what a client has seen."""
        if self._lines[home].lacks_above != self._owner.fold.high_of(home):
            self._lines[home].lacks_above = None
        return self._owner.ready and not self._lines[home].lacks_above

    def _ask(self, home: int, line: Line) -> Asked | None:
        _drop_unwanted(line)
        keys = list(line.next_keys())
        if not keys:
            return None
        line.number += 1
        sends = tuple(
            AskedSend(key[0], line.asks[key].send, line.asks[key].verdict) for key in keys
        )
        owner = self._owner
        high = owner.fold.high_of(home)
        assert owner.epoch is not None
        asked = Asked(owner.partition, owner.epoch, line.number, line.epoch, high, sends)
        line.under_way = UnderWay(asked, keys)
        return asked

    def given_up(self, home: int, asked: Asked) -> None:
        """Note that no answer to a request will come. It may have arrived, or arrive later."""
        line = self._lines[home]
        if line.under_way and line.under_way.asked is asked:
            line.under_way = None

    def answered(self, home: int, asked: Asked, answer: Answer, now_ms: int) -> None:
        """Take in the answer to a request."""
        line = self._lines[home]
        if not line.under_way or line.under_way.asked is not asked:
            return
        keys, line.under_way, line.moved_ms = line.under_way.keys, None, now_ms
        self._follow(line, answer)
        for key, result in zip(keys, answer.results, strict=False):
            if key in line.asks:
                self._settle(line, home, key, result, asked.high)
        if line.lacks_above:
            self._owner.fold.owe(home, answer.last)
        # Or whoever sends all of it again would find what was left here before the rest.
        _drop_unwanted(line)

    def _follow(self, line: Line, answer: Answer) -> None:
        """What another owner has taken may not count."""
        if answer.epoch.lies_above(line.epoch):
            line.epoch = answer.epoch
            _untake(line)

    def _settle(self, line: Line, home: int, key: Key, result: Result, high: Place) -> None:
        ask = line.asks[key]
        match result:
            case Taken():
                ask.taken = True
            case Known():
                ask.taken, ask.known = True, result
                self._await_copy(home, result)
                self._acknowledge_read(line, home)
            case Left():
                pass
            case Refusal() if _is_behind(result):
                line.lacks_above = high
            case Refusal():
                line.drop(key)
                for session in ask.sessions:
                    _tell(session, key, result)

    def _await_copy(self, home: int, known: Known) -> None:
        """Have a copy that does not come asked for: the log may have lost it with its end."""
        self._owner.fold.owe(home, known.at)

    def _acknowledge_read(self, line: Line, home: int) -> None:
        """Acknowledge what was known, and whose copies were read before."""
        high = self._owner.fold.high_of(home)
        for key, ask in list(line.asks.items()):
            if ask.known and not ask.known.at.lies_above(high):
                line.drop(key)
                message_id, at = ask.known
                ack = frames.ack(key[1], message_id, self._owner.place, at)
                for session in ask.sessions:
                    if session in self._owner.sessions.get(key[0], ()):
                        session.push(ack)

    # -- copies

    def read(self, home: int, key: Key, now_ms: int) -> list[Session]:
        """Take in that a copy from there was read, and return the sessions that wait for it."""
        line = self._lines.get(home)
        ask = line.drop(key) if line else None
        if line is None or ask is None:
            return []
        line.moved_ms = now_ms
        return ask.sessions

    def expire(self, now_ms: int) -> None:
        """Ask again for what was taken long ago, and acknowledge what was left out of the copies.
        Call this about once a second.
        """
        for home, line in self._lines.items():
            self._acknowledge_read(line, home)
            if now_ms - line.moved_ms >= AGAIN_MS:
                line.moved_ms, line.lacks_above = now_ms, None
                _untake(line)


def _join(first: Ask, session: Session, send: Send) -> None:
    if first.content != content_of(send):
        session.refuse(send.client_message_id, refusals.reused_id(send.client_message_id))
    elif session not in first.sessions:
        first.sessions.append(session)


def _is_behind(refusal: Refusal) -> bool:
    return refusal.error_code == errors_pb2.ERROR_CODE_CATCH_UP


def _untake(line: Line) -> None:
    for ask in line.asks.values():
        ask.taken = False


def _drop_unwanted(line: Line) -> None:
    """Forget what nobody waits for any more, unless the home may have taken it."""
    for key, ask in list(line.asks.items()):
        if not ask.is_wanted and not ask.taken:
            line.drop(key)


def _tell(session: Session, key: Key, refusal: Refusal) -> None:
    if refusal.retriable:
        session.close(refusal)
    elif not (session.closed or session.blocked):
        session.refuse(key[1], refusal)
