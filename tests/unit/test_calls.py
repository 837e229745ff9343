"""What an owner decides about sends of the back end that come in calls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cecochat.domain.errors import Refusal
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId, time_ms
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.log.records import Origin
from cecochat.domain.ownership.asks import Known, Taken
from cecochat.domain.ownership.calls import Called, Calls, Unsure
from cecochat.domain.ownership.owner import Owner
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Message
from cecochat.v1.messaging_pb2 import Send

ALICE, BOB, CHAT = UserId("alice"), UserId("bob"), "d:alice~bob"
MINUTE_MS = 60_000
NOW_MS = 1_700_000_000_000


def called(key: str, since_ms: int = 0, text: str = "hi", absent: Place | None = None) -> Called:
    send = Send(client_message_id=key, chat_id=CHAT, message=Message(text=text))
    made = Called(ALICE, send, since_ms)
    return made._replace(absent_up_to=absent) if absent else made


class World:
    """An owner that has taken over, and its log."""

    def __init__(self, floor: int = -1) -> None:
        fold = Fold(here=Here(0, lambda _: 0))
        if floor >= 0:  # it was loaded from a state record there
            fold.clock_ms = NOW_MS - MINUTE_MS
        cursor = floor + 1
        self.owner = Owner(0, "s", fold, cursor=cursor, forwarded=-1, limits=OwnerLimits())
        self.calls = Calls(self.owner, self.accept)
        self.append(self.owner.takeover("one", 1, NOW_MS))

    def append(self, record: object) -> None:
        self.owner.read(self.owner.cursor, record, NOW_MS, NOW_MS)  # type: ignore[arg-type]

    def accept(self, called: Called) -> Origin:
        if called.send.message.text == "bad":
            raise Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, "bad")
        return self.owner.accept(called.user_id, called.send, [BOB], NOW_MS)

    def take(self, *sends: Called) -> list[object]:
        return [each for each, _ in self.taken(*sends)]

    def taken(self, *sends: Called) -> Iterator[tuple[object, Origin | None]]:
        return self.calls.take_all(sends, NOW_MS)


def test_who_knows_the_whole_log_takes_it_and_knows_it_again() -> None:
    world = World()
    ((first, origin),) = world.taken(called("k"))
    assert isinstance(first, Taken)
    assert origin is not None
    assert world.take(called("k")) == [Taken()], "it is on its way"
    assert world.calls.taken((ALICE, "k")) is None
    world.append(origin)
    known = Known(origin.id, world.owner.place)
    assert world.calls.taken((ALICE, "k")) == known
    assert world.take(called("k")) == [known]
    (other,) = world.take(called("k", text="another"))
    assert isinstance(other, Refusal)
    assert other.error_code == errors_pb2.ERROR_CODE_REUSED_ID


def test_what_may_have_come_before_is_looked_for() -> None:
    world = World(floor=7)
    assert world.take(called("k")) == [Unsure(world.owner.place)]
    assert world.take(called("k", NOW_MS)) == [Unsure(world.owner.place)], "clocks may differ"
    (later, _) = next(world.taken(called("k", absent=world.owner.place)))
    assert isinstance(later, Taken)


def test_what_is_young_is_new() -> None:
    world = World(floor=7)
    world.owner.sent.floor = Place(NOW_MS - 4 * MINUTE_MS, 7)
    assert world.take(called("k", NOW_MS)) == [Taken()]
    assert world.take(called("l", NOW_MS - 2 * MINUTE_MS)) == [Unsure(world.owner.place)]


@pytest.mark.parametrize(("ahead_ms", "refused"), [(MINUTE_MS, False), (MINUTE_MS + 1, True)])
def test_nothing_is_from_the_future(ahead_ms: int, refused: bool) -> None:
    (decision,) = World().take(called("k", NOW_MS + ahead_ms))
    assert isinstance(decision, Refusal) == refused


def test_no_send_overtakes_one_that_is_unsure() -> None:
    world = World(floor=7)
    world.owner.sent.floor = Place(NOW_MS - 4 * MINUTE_MS, 7)
    decisions = world.take(called("1", NOW_MS), called("2"), called("3", NOW_MS))
    at = world.owner.place
    assert decisions == [Taken(), Unsure(at), Unsure(at)]


def test_a_refused_send_stops_none_of_the_others() -> None:
    world = World()
    decisions = world.take(called("1", text="bad"), called("2"))
    assert isinstance(decisions[0], Refusal)
    assert decisions[1] == Taken()
    assert time_ms(world.owner.fold.last_id or 0) <= NOW_MS
