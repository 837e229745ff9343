"""A run is judged without what the log took with it, and everything else is judged as ever."""

from __future__ import annotations

from tests.support.oracle import Kind, judge
from tests.support.records import (
    Acked,
    At,
    Delivered,
    DeviceKey,
    Entry,
    GapTold,
    Message,
    Place,
    Welcomed,
)
from tests.support.story import BOB, ONE, TO_ALL, TWO, Entries, story
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


def once_more(message: Message, first: Delivered | Acked) -> Entries:
    """Bob is shown a message as `first`, and then again."""
    entries, _ = story()
    at = next(
        number
        for number, entry in enumerate(entries)
        if entry.who == BOB and isinstance(entry.what, type(first)) and shows(entry.what, message)
    )
    entries[at] = entries[at]._replace(what=first)
    again = Delivered(7, message, clock_ms=1_500)
    return [*entries, Entry(99.0, BOB, 1, again)]


def shows(what: Delivered | Acked, message: Message) -> bool:
    if isinstance(what, Acked):
        return what.message_id == message.message_id
    return what.message == message


def of_a_group(offset: int, clock_ms: int) -> Acked:
    """Bob's own message, whose copy was at that place."""
    return Acked(TO_ALL.client_message_id, TO_ALL.message_id, offset, clock_ms, At(800, 50))


def test_a_copy_that_is_gone_may_come_again() -> None:
    for message, gone in (
        (ONE, Delivered(300, ONE, clock_ms=900)),
        (TO_ALL, of_a_group(300, 900)),
    ):
        assert Kind.DELIVERED_TWICE not in kinds(GONE.without(once_more(message, gone)))


def test_a_copy_that_is_not_gone_may_not() -> None:
    for message, kept in (
        (ONE, Delivered(3, ONE, clock_ms=900)),
        (ONE, Delivered(300, ONE, clock_ms=1_200)),
        (TO_ALL, of_a_group(10, 900)),
    ):
        assert Kind.DELIVERED_TWICE in kinds(GONE.without(once_more(message, kept)))


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
