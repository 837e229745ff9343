"""From which event up to which somebody belongs to a group."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.log.spans import Spans


def test_coming_and_going_are_seen_and_what_is_between_absences_is_not() -> None:
    spans = Spans[str]()
    spans.begin("ann", 10)
    spans.end("ann", 20)
    spans.begin("ann", 30)
    seen = [id_ for id_ in range(5, 40, 5) if spans.covers("ann", id_)]
    assert seen == [10, 15, 20, 30, 35]
    assert not spans.covers("bob", 15)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=20), st.integers(0, 25))
def test_spans_say_what_a_recount_says(comings: list[tuple[str, bool]], before: int) -> None:
    spans, here = Spans[str](), set[str]()
    gets: dict[int, set[str]] = {}
    for id_, (who, comes) in enumerate(comings):
        (spans.begin if comes else spans.end)(who, id_)
        gets[id_] = here | {who} if comes or who in here else set(here)
        here = here | {who} if comes else here - {who}
    for who in "ab":
        spans.forget(who, before)
    for id_, those in gets.items():
        if id_ > before:
            assert {who for who in spans if spans.covers(who, id_)} == those
    assert spans.count == len(here)
    assert {who for who in "ab" if spans.belongs(who)} == here
