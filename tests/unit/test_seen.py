"""How much of the logs of groups a client has seen."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied
from cecochat.domain.ownership.seen import Seen

COPIES = st.lists(st.integers(0, 2), max_size=60)


@given(COPIES, st.integers(0, 20), st.integers(-5, 80), st.integers(0, 2))
def test_it_is_what_had_been_copied_or_unknown(
    origins: list[int], entries_max: int, offset: int, origin: int
) -> None:
    high = {0: Copied(Place(1, 5), 0)}
    seen = Seen(9, high, entries_max)
    copied = {0: Place(1, 5)}
    told = copied.get(origin, NOWHERE)
    for at, each in enumerate(origins, start=10):
        copied[each] = Place(2, at)
        seen.add(at, each, copied[each])
        told = copied.get(origin, NOWHERE) if at <= offset else told
    said = seen.up_to(offset, origin)
    recent = offset >= 9 + max(len(origins) - entries_max // 2, 0)
    assert said == (told if offset >= 9 else NOWHERE) or (said == NOWHERE and not recent)


def test_no_more_is_kept_than_that() -> None:
    seen = Seen(-1, {}, 100)
    for offset in range(10_000):
        seen.add(offset, offset % 3, Place(1, offset))
    assert seen.up_to(9_999, 0) == Place(1, 9_999)
    assert seen.up_to(9_950, 0) == Place(1, 9_948)
    assert seen.up_to(9_800, 0) == NOWHERE
