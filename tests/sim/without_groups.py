"""What stands in the place of a rule about groups when it is taken away: see `group_rules`."""

from __future__ import annotations

from collections.abc import Iterator

from cecochat.domain.errors import Refusal
from cecochat.domain.groups.group import Group
from cecochat.domain.log.groups import Groups
from cecochat.domain.log.ids import ChatId, UserId
from cecochat.domain.log.records import Copy, Origin, State
from cecochat.domain.log.reliable import ReliableStates
from cecochat.domain.log.spans import STILL, Spans
from cecochat.domain.ownership.asking import Asking, Line
from cecochat.domain.ownership.asks import Asked, AskedSend, Known, Result, Taken
from cecochat.domain.ownership.home import Home
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session import frames
from cecochat.v1.events_pb2 import Event


def always(*_: object) -> bool:
    return True


def not_at_all(*_: object) -> bool:
    return False


def results_beyond_refusals(
    self: Home, asked: Asked, now_ms: int, origins: list[Origin]
) -> Iterator[Result]:
    for each in asked.sends:
        yield self._take(asked, each, now_ms, origins)


_take = Home._take


def take_at_its_word(
    self: Home, asked: Asked, asked_send: AskedSend, now_ms: int, origins: list[Origin]
) -> Taken | Known | Refusal:
    return asked_send.verdict or _take(self, asked, asked_send, now_ms, origins)


def knows_what_it_covers(self: Home, asked: Asked) -> bool:
    return self._owner.sent.covers_place(asked.high)


def forget_copies(self: Owner, event: Event, record: Copy, now_ms: int) -> None:
    key = (UserId(event.user_id), event.client_message_id)
    sessions = self.asking.read(record.origin_partition, key, now_ms)
    self._acknowledge(event, sessions, record.origin)


def acknowledge_what_is_known(self: Asking, line: Line, home: int) -> None:
    for key, ask in list(line.asks.items()):
        if ask.known:
            del line.asks[key]
            ack = frames.ack(key[1], ask.known.message_id, self._owner.place)
            for session in ask.sessions:
                if session in self._owner.sessions.get(key[0], ()):
                    session.push(ack)


def group_as_read(self: Home, chat_id: ChatId) -> Group:
    assert self._owner.fold.groups
    return Group.of(self._owner.fold.groups.roster(chat_id))


def partitions_as_read(self: Home, group: Group) -> frozenset[int]:
    assert self._owner.fold.groups
    roles = self._owner.fold.groups.roster(group.chat_id).roles
    return frozenset(map(self._owner.here.partition_of, roles)) - {self._owner.partition}


def follows_at_home(self: Groups, chat_id: ChatId, changed_id: int) -> bool:
    """The home, too, has to know the change before."""
    spans = self.members.get(chat_id)
    gets_them = self._here.has(chat_id) or (spans and spans.count)
    return changed_id == (self.changed_id(chat_id) if gets_them else 0)


def state_itself(self: ReliableStates, state: State) -> State:
    return state


def belongs_now(self: Spans[str], key: str, id_: int) -> bool:
    return self.belongs(key)


def belonged_once(self: Spans[str], key: str, id_: int) -> bool:
    return bool(self._spans.get(key))


def forget_all(self: Spans[str], key: str, up_to_id: int) -> None:
    self._spans = {k: v for k, v in self._spans.items() if v[-1].last_id == STILL}
