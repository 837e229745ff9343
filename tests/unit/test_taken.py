"""A run is judged without what the log took with it, and everything else is judged as ever."""

from __future__ import annotations

from tests.support.oracle import Kind, judge
from tests.support.records import Acked, Delivered, DeviceKey, Entry, GapTold, Place, Welcomed
from tests.support.story import BOB, ONE, TWO, Entries, story
from tests.support.taken import Taken, stood_on_what_is_gone, told_of_a_gap

GONE = Taken(frozenset({TWO.message_id}), dict.fromkeys(range(12), 100), back_ms=1_000)


def kinds(entries: Entries, *lost: int) -> set[Kind]:
    """What is found where the history lacks these."""
    _, history = story()
    left = {
        chat: [row for row in rows if row.message_id not in lost] for chat, rows in history.items()
    }
    return {each.kind for each in judge(entries, left)}


def test_what_is_gone_is_excused() -> None:
    entries, _ = story()
    assert Kind.LOST_FROM_HISTORY in kinds(entries, TWO.message_id)
    assert kinds(GONE.without(entries), TWO.message_id) == set()


def test_what_is_not_gone_is_not() -> None:
    entries, _ = story()
    both = kinds(GONE.without(entries), ONE.message_id, TWO.message_id)
    assert {Kind.LOST_FROM_HISTORY, Kind.NOT_IN_HISTORY} <= both


def once_more(first: Delivered) -> Entries:
    """Bob is shown a message as `first`, and then again."""
    entries, _ = story()
    at = next(n for n, e in enumerate(entries) if e.who == BOB and isinstance(e.what, Delivered))
    entries[at] = entries[at]._replace(what=first)
    again = Delivered(7, first.message, clock_ms=1_500)
    return [*entries, Entry(99.0, BOB, 1, again)]


def test_a_copy_that_is_gone_may_come_again() -> None:
    gone = once_more(Delivered(300, ONE, clock_ms=900))
    assert Kind.DELIVERED_TWICE not in kinds(GONE.without(gone))


def test_a_copy_that_is_not_gone_may_not() -> None:
    for kept in (Delivered(3, ONE, clock_ms=900), Delivered(300, ONE, clock_ms=1_200)):
        assert Kind.DELIVERED_TWICE in kinds(GONE.without(once_more(kept)))


def test_who_stood_on_what_is_gone_has_to_be_told() -> None:
    kept, gone = DeviceKey("ann", "phone"), DeviceKey("ben", "phone")
    place = Place("log", 3, 90)
    entries = [
        *(Entry(1.0, who, 1, Welcomed(place)) for who in (kept, gone)),
        Entry(2.0, kept, 1, Acked("a1", 1, 99, clock_ms=900)),
        Entry(2.0, gone, 1, Acked("b1", 2, 100, clock_ms=900)),
        Entry(3.0, gone, 2, GapTold(100, 101)),
    ]
    assert stood_on_what_is_gone(GONE, entries) == told_of_a_gap(entries) == {gone}
