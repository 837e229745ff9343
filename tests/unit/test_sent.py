"""The table of what was sent: it knows a repeat, and is bounded."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import Place
from cecochat.domain.ownership.sent import Accepted, SentTable

STEPS = st.lists(
    st.tuples(st.just("add"), st.integers(0, 6))
    | st.tuples(st.just("expire"), st.integers(0, 400)),
    max_size=60,
)  # fmt: skip


@given(STEPS, st.integers(0, 5), st.integers(1, 500), st.booleans())
def test_the_table_knows_every_send_above_its_floor(
    steps: list[tuple[str, int]], entries_max: int, window_ms: int, unique: bool
) -> None:
    table = SentTable(
        Place(0, 9), OwnerLimits(resend_window_ms=window_ms, resend_entries_max=entries_max)
    )
    now_ms, offset, announced = 1_000, 10, 9
    accepted: dict[tuple[UserId, str], Place] = {}
    for step, value in steps:
        if step == "add":
            key = (UserId("user"), f"{value} {offset if unique else ''}")
            accepted[key] = Place(now_ms, offset)
            table.add(key, Accepted(offset, accepted[key], now_ms, 0))
            offset += 1
        else:
            now_ms += value
            floor_before = table.floor.offset
            assert table.expire(now_ms) >= table.floor.offset
            assert table.floor.offset >= floor_before
            assert table.floor.offset <= announced, "only what was announced is forgotten"
            announced = table.announced.offset
            assert announced >= table.floor.offset
        for key, at in accepted.items():
            if at.offset > table.floor.offset:
                known = table.find(key)
                assert known is not None
                assert known.at == at
            assert table.covers(at.offset - 1) or at.offset <= table.floor.offset
            assert table.covers_place(at) or table.floor.lies_above(at)


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_table_is_bounded_once_it_has_been_told(sends: int, entries_max: int) -> None:
    table = SentTable(Place(0, -1), OwnerLimits(resend_entries_max=entries_max))
    for offset in range(sends):
        table.add((UserId("user"), str(offset)), Accepted(offset, Place(0, offset), 0, 0))
    table.expire(1)
    table.expire(1)
    assert len(table) == min(sends, entries_max)
