"""What a server is about to tell others, with the newest word of each thing only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Final, Literal

from cecochat.domain.log.ids import ChatId, UserId
from cecochat.v1.signals_pb2 import Interest, Signals, UserSeen, UsersSeen, UserTypes

WAITING_MAX: Final = 20_000
"""How many things may wait for one partition. Above it, the oldest is dropped."""
RECORD_THINGS: Final = 500
"""How many things go into one record, so that it stays far below the limit of a record."""

How = Literal["asked", "online", "offline", "ended"]
_Key = tuple[object, ...]
_Of = tuple[int, int]  # a partition, and the epoch of its owner
_Thing = UserTypes | tuple[_Of, How, UserId] | tuple[_Of, UserSeen]


class Outbox:
    """Collects what goes to each partition until it is taken. Several words about one thing in
    between are one: the last.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[int, dict[_Key, _Thing]] = defaultdict(dict)
        self.dropped = 0

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return bool(self._waiting)

    def types(self, to: int, chat_id: ChatId, user_id: UserId, active: bool) -> None:
        """Tell a partition that a user types in a chat, or has stopped."""
        types = UserTypes(chat_id=chat_id, user_id=user_id, active=active)
        self._put(to, ("types", chat_id, user_id), types)

    def interest(self, to: int, partition: int, epoch: int, user_id: UserId, how: How) -> None:
        """Tell the partition of a user that sessions in `partition` watch the user, as its owner of
        that epoch knows.
        """
        self._put(to, ("interest", partition, user_id), ((partition, epoch), how, user_id))

    def seen(self, to: int, partition: int, epoch: int, user: UserSeen) -> None:
        """Tell a partition how a user of `partition` is, as its owner of that epoch knows."""
        self._put(to, ("seen", user.user_id), ((partition, epoch), user))

    def _put(self, to: int, key: _Key, thing: _Thing) -> None:
        waiting = self._waiting[to]
        waiting.pop(key, None)  # so that the newest is last
        waiting[key] = thing
        if len(waiting) > WAITING_MAX:
            del waiting[next(iter(waiting))]
            self.dropped += 1

    def take(self) -> Iterator[tuple[int, bytes]]:
        """Take everything: the values of records, with the partition that each goes to."""
        taken, self._waiting = self._waiting, defaultdict(dict)
        for to, waiting in taken.items():
            things = iter(waiting.values())
            while some := list(islice(things, RECORD_THINGS)):
                yield to, _record(some).SerializeToString()


def _record(things: list[_Thing]) -> Signals:
    record = Signals()
    interests: dict[_Of, Interest] = {}
    seen: dict[_Of, UsersSeen] = {}
    for thing in things:
        if isinstance(thing, UserTypes):
            record.typing.append(thing)
            continue
        partition, epoch = of = thing[0]
        if len(thing) == 2:
            seen.setdefault(of, UsersSeen(partition=partition, epoch=epoch)).users.append(thing[1])
        else:
            interest = interests.setdefault(of, Interest(partition=partition, epoch=epoch))
            getattr(interest, f"{thing[1]}_ids").append(thing[2])
    record.interests.extend(interests.values())
    record.seen.extend(seen.values())
    return record
