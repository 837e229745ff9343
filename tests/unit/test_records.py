"""What is written is what is read; everything else is undecodable and raises nothing else."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Undecodable
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import (
    Copied,
    Copy,
    LogRecord,
    Missing,
    Origin,
    State,
    Takeover,
    decode,
    encode,
)
from cecochat.v1.events_pb2 import Event
from cecochat.v1.log_pb2 import State as StateValue
from cecochat.v1.log_pb2 import Takeover as TakeoverValue
from tests.unit.test_ids import USER_IDS

INT63 = st.integers(0, (1 << 63) - 1)
TEXT = st.text(max_size=20)


@st.composite
def events(draw: st.DrawFn) -> Event:
    event = Event(
        id=draw(INT63),
        user_id=draw(USER_IDS),
        chat_id=draw(TEXT),
        client_message_id=draw(TEXT),
        recipient_ids=draw(st.lists(USER_IDS, max_size=3)),
    )
    event.message.text = draw(st.text())
    return event


@st.composite
def origins(draw: st.DrawFn) -> Origin:
    event = draw(events())
    return Origin(
        event.id,
        Place(draw(INT63), draw(INT63)),
        draw(INT63),
        UserId(event.user_id),
        event.client_message_id,
        tuple(map(UserId, event.recipient_ids)),
        event.SerializeToString(),
        event,
    )


@st.composite
def copies(draw: st.DrawFn) -> Copy:
    event = draw(events().filter(lambda event: event.id > 0))
    return Copy(
        event.id,
        draw(st.integers(0, 4_095)),
        Place(draw(INT63), draw(INT63)),
        draw(st.just(NOWHERE) | st.builds(Place, INT63, st.integers(-1, (1 << 63) - 1))),
        tuple(draw(st.lists(USER_IDS, min_size=1, max_size=3))),
        event.SerializeToString(),
    )


PLACES = st.builds(Place, INT63, st.integers(-1, 1 << 40))
COPIED = st.builds(Copied, PLACES, INT63)
TAKEOVERS = st.builds(
    Takeover,
    TEXT,
    TEXT,
    INT63,
    st.tuples(INT63, INT63),
    st.booleans(),
    st.builds(Place, INT63, st.integers(-1, (1 << 63) - 2)),
)
STATES = st.builds(
    State,
    st.integers(-1, 1 << 40),
    PLACES,
    INT63,
    INT63,
    st.dictionaries(st.integers(0, 4_095), COPIED),
    INT63,
    st.dictionaries(st.integers(0, 4_095), COPIED),
    st.dictionaries(st.integers(0, 4_095), PLACES),
    st.integers(-1, 1 << 40),
    INT63,
)
MISSING = st.builds(Missing, st.integers(0, 4_095), PLACES)
RECORDS = st.one_of(origins(), copies(), TAKEOVERS, STATES, MISSING)


@given(RECORDS)
def test_a_record_is_read_as_it_was_written(record: LogRecord) -> None:
    assert decode(*encode(record)) == record


@given(RECORDS)
def test_headers_are_printable_ascii_in_a_fixed_order(record: LogRecord) -> None:
    _, _, headers = encode(record)
    assert [name for name, _ in headers[:2]] == ["kind", "v"]
    assert all(text.isascii() and text.isprintable() for header in headers for text in header)


HEADER_NAMES = st.sampled_from(
    ["kind", "v", "id", "epoch", "number", "clock", "origin", "after", "clocks", "x"]
)
HEADER_VALUES = st.one_of(
    TEXT, st.sampled_from(["origin", "copy", "takeover", "state", "1", "2", "3:4", "-1", ":"])
)


@given(st.binary(), st.binary(), st.lists(st.tuples(HEADER_NAMES, HEADER_VALUES)).map(tuple))
def test_anything_else_is_undecodable(
    key: bytes, value: bytes, headers: tuple[tuple[str, str], ...]
) -> None:
    with suppress(Undecodable):
        encode(decode(key, value, headers))


@given(RECORDS, st.integers(0, 6), HEADER_VALUES)
def test_a_record_with_a_changed_header_is_undecodable_or_written_again(
    record: LogRecord, at: int, value: str
) -> None:
    key, body, headers = encode(record)
    changed = list(headers)
    changed[at % len(changed)] = (changed[at % len(changed)][0], value)
    with suppress(Undecodable):
        encode(decode(key, body, tuple(changed)))


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("v", "2"),
        ("kind", "signal"),
        ("id", "x"),
        ("id", str(1 << 63)),
        ("id", "-1"),
        ("epoch", "-5"),
        ("number", ""),
        ("clock", ""),
        ("clock", "x"),
        ("clock", "-1"),
        ("clock", str(1 << 63)),
    ],
)
def test_an_origin_with_a_wrong_header_is_undecodable(header: str, value: str) -> None:
    event = Event(id=1, user_id="alice")
    origin = Origin(1, Place(5, 0), 0, UserId("alice"), "", (), event.SerializeToString(), event)
    key, body, headers = encode(origin)
    wrong = tuple((name, value if name == header else was) for name, was in headers)
    with pytest.raises(Undecodable):
        decode(key, body, wrong)


@pytest.mark.parametrize(
    ("header", "value"),
    [("origin", "4096:1"), ("origin", "-1:1"), ("origin", "1"), ("origin", "1:-1"), ("after", "-2"),
     ("origin", f"1:{1 << 63}"), ("clocks", ""), ("clocks", "1"), ("clocks", "x:1"),
     ("clocks", "1:x"), ("clocks", "-1:0"), ("clocks", "0:-1"), ("clocks", f"1:{1 << 63}")],
)  # fmt: skip
def test_a_copy_with_a_wrong_header_is_undecodable(header: str, value: str) -> None:
    key, body, headers = encode(Copy(1, 2, Place(5, 3), NOWHERE, (UserId("bob"),), b""))
    wrong = tuple((name, value if name == header else was) for name, was in headers)
    with pytest.raises(Undecodable):
        decode(key, body, wrong)


@given(origins())
def test_an_origin_of_a_first_version_knows_no_clock_of_its_epoch(origin: Origin) -> None:
    key, body, headers = encode(origin)
    assert dict(headers)["clock"] == str(origin.epoch.clock_ms)
    former = tuple(header for header in headers if header[0] != "clock")
    assert decode(key, body, former) == replace(origin, epoch=Place(0, origin.epoch.offset))


@given(copies())
def test_a_copy_of_a_first_version_knows_no_clocks(copy: Copy) -> None:
    key, body, headers = encode(copy)
    assert dict(headers)["clocks"] == f"{copy.origin.clock_ms}:{copy.after.clock_ms}"
    former = tuple(header for header in headers if header[0] != "clocks")
    known = decode(key, body, former)
    origin, after = Place(0, copy.origin.offset), Place(0, copy.after.offset)
    assert known == replace(copy, origin=origin, after=after)


def test_an_owner_of_a_first_version_keeps_no_clock() -> None:
    former = TakeoverValue(server_id="one", session="s", assignment_version=7)
    known = decode(b"", former.SerializeToString(), (("kind", "takeover"), ("v", "1")))
    assert known == Takeover("one", "s", 7, keeps_clock=False)


def test_a_state_of_a_first_version_knows_no_clocks() -> None:
    former = StateValue(as_of=9, epoch=1, count=2, top=3, last_id=4)
    former.copied[7].offset, former.copied[7].message_id = 5, 6
    known = decode(b"", former.SerializeToString(), (("kind", "state"), ("v", "1")))
    assert known == State(9, Place(0, 1), 2, 3, {7: Copied(Place(0, 5), 6)}, 4, groups=())


def test_an_origin_without_headers_is_undecodable() -> None:
    for missing in ("kind", "v", "id", "epoch", "number"):
        event = Event(id=1, user_id="alice")
        key, body, headers = encode(
            Origin(1, Place(5, 0), 0, UserId("alice"), "", (), event.SerializeToString(), event)
        )
        with pytest.raises(Undecodable):
            decode(key, body, tuple(h for h in headers if h[0] != missing))


@pytest.mark.parametrize("value", [b"", Event(id=8, chat_id="d:a~b").SerializeToString()])
def test_a_copy_brings_the_event_that_it_names(value: bytes) -> None:
    """An empty value reads as an event, too. It counted, and all real copies behind it did not."""
    key, _, headers = encode(Copy(7, 3, Place(1, 99_999), NOWHERE, (UserId("bob"),), b""))
    with pytest.raises(Undecodable, match="not the event 7"):
        decode(key, value, headers)
    zero = tuple((name, "0" if name == "id" else text) for name, text in headers)
    with pytest.raises(Undecodable):
        decode(key, value, zero)
