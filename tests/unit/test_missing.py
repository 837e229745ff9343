"""When an owner asks for copies that are missing, and what others make of its question."""

from __future__ import annotations

from itertools import pairwise

from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Copy, Missing, Origin, Takeover, decode, encode
from cecochat.domain.ownership.incoming import ASK_AFTER_MS, ASK_SELDOM_MS, Incoming
from cecochat.domain.ownership.owner import Owner
from cecochat.v1.events_pb2 import Event

NOW_MS = 1_000


def at(offset: int) -> Place:
    return Place(NOW_MS, offset)


BROKEN = Copy(7, 2, at(9), at(8), (UserId("bob"),), b"")


def fold_with_a_broken_chain() -> Fold:
    fold = Fold()
    fold.high[2] = Copied(at(5), 1)
    assert not fold.step(0, BROKEN, NOW_MS)
    return fold


def test_what_comes_by_itself_is_not_asked_for() -> None:
    fold = fold_with_a_broken_chain()
    incoming = Incoming(1, fold)
    assert incoming.due(0) == []
    assert fold.step(1, Copy(6, 2, at(8), at(5), (UserId("bob"),), b""), NOW_MS)
    assert fold.step(2, BROKEN, NOW_MS)
    assert incoming.due(ASK_AFTER_MS) == []
    assert not fold.owed


def test_a_chain_that_moves_is_given_time() -> None:
    fold = fold_with_a_broken_chain()
    incoming = Incoming(1, fold)
    incoming.due(0)
    fold.step(1, Copy(6, 2, at(7), at(5), (UserId("bob"),), b""), NOW_MS)
    assert incoming.due(ASK_AFTER_MS) == []
    assert incoming.due(2 * ASK_AFTER_MS) == [2]


def test_a_question_is_asked_again_at_growing_intervals() -> None:
    incoming = Incoming(1, fold_with_a_broken_chain())
    asked = []
    for now_ms in range(0, 2_000_000, 1_000):
        for origin in incoming.due(now_ms):
            assert incoming.ask(origin, now_ms) == Missing(1, at(5))
            asked.append(now_ms)
    waited = [later - before for before, later in pairwise(asked)]
    assert asked[0] == ASK_AFTER_MS
    assert waited[:3] == [4_000, 8_000, 16_000]
    assert waited[-1] == ASK_SELDOM_MS
    assert incoming.broken == {2}


def test_what_was_said_to_be_there_and_is_not_is_not_asked_for() -> None:
    """A stranger can write a copy of anything."""
    incoming = Incoming(1, fold_with_a_broken_chain())
    incoming.due(0)
    assert incoming.due(ASK_AFTER_MS) == [2]
    incoming.compare(2, Copied(at(5), 1))
    assert incoming.ask(2, ASK_AFTER_MS) is None
    assert not incoming.broken


def test_a_log_that_has_lost_what_counted_last_is_asked_for_all_that_it_has() -> None:
    """What stands at that offset there now, and before it, this partition has never had."""
    incoming = Incoming(1, fold_with_a_broken_chain())
    incoming.due(0)
    assert incoming.due(ASK_AFTER_MS) == [2]
    assert incoming.ask(2, ASK_AFTER_MS, held=False) == Missing(1, NOWHERE)


def test_a_question_counts_for_nobody_who_does_not_know_it() -> None:
    """So it ends no epoch there, and is no dead letter."""
    key, value, headers = encode(Missing(3, at(17)))
    assert decode(key, value, headers) == Missing(3, at(17))
    known_before = tuple(each for each in headers if each[0] != "missing")
    record = decode(key, value, known_before)
    assert isinstance(record, Origin)
    fold = Fold()
    for offset in range(3):
        fold.step(offset, Takeover("server", "session", 1), NOW_MS)
        assert not fold.step(offset, record, NOW_MS)


def origin(owner: Owner, number: int, to: str) -> Origin:
    assert owner.epoch is not None
    event = Event(id=number + 1, user_id="alice", recipient_ids=[to])
    written = event.SerializeToString()
    return Origin(
        number + 1, owner.epoch, number, UserId("alice"), "", (UserId(to),), written, event
    )


def an_owner() -> Owner:
    """It has brought everything to both of its targets."""
    places = {"bob": 1, "carol": 2}
    fold = Fold(Here(0, places.__getitem__))
    owner = Owner(0, "session", fold, cursor=0, forwarded=-1, limits=OwnerLimits())
    owner.read(0, owner.takeover("server", 1, NOW_MS), NOW_MS, 0)
    for number, to in enumerate(["bob", "carol", "bob"]):
        owner.read(number + 1, origin(owner, number, to), NOW_MS, 0)
    for target, copies in owner.forwarder.take(10):
        owner.forwarder.acknowledged(target, len(copies))
    return owner


def test_who_is_asked_brings_what_lies_above() -> None:
    owner = an_owner()
    owner.read(4, Missing(1, at(1)), NOW_MS, 0)
    assert owner.forwarder.done == 1
    assert owner.forwarder.begin_recall() == 2


def test_who_is_asked_for_nothing_does_nothing() -> None:
    owner = an_owner()
    owner.read(4, Missing(1, at(3)), NOW_MS, 0)
    owner.read(5, Missing(2, at(2)), NOW_MS, 0)
    owner.read(6, Missing(7, at(-1)), NOW_MS, 0)
    assert not owner.forwarder.is_behind
