"""Copies go out in order, each names the one before it, and the watermark is never too high."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.forwarder import Forwarder
from cecochat.domain.records import Copy, Origin
from cecochat.v1.events_pb2 import Event

PLACES = {name: n for n, name in enumerate("abcde")}


def origin(offset: int, recipients: tuple[str, ...]) -> Origin:
    event = Event(id=offset + 1, user_id="s", recipient_ids=recipients)
    return Origin(offset + 1, 0, 0, "s", "", recipients, event.SerializeToString(), event)


@given(st.data(), st.integers(-1, 10))
def test_the_watermark_and_the_chain(data: st.DataObject, done: int) -> None:
    forwarder = Forwarder(3, PLACES.__getitem__, done)
    offset = 0
    owed: set[tuple[int, int]] = set()  # (origin offset, target) not acknowledged, taken or not
    under_way: list[tuple[int, int]] = []
    last: dict[int, int] = {}
    for _ in range(data.draw(st.integers(0, 25))):
        match data.draw(st.sampled_from(["add", "take", "acknowledge", "caught up"])):
            case "add":
                recipients = tuple(
                    data.draw(st.lists(st.sampled_from("abcde"), min_size=1, max_size=4))
                )
                forwarder.add(offset, origin(offset, recipients))
                if offset > done:
                    owed |= {(offset, PLACES[user]) for user in recipients}
                offset += data.draw(st.integers(1, 3))
            case "take":
                for target, copy in forwarder.take(data.draw(st.integers(1, 3))):
                    assert isinstance(copy, Copy)
                    assert copy.after == last.get(target, -1) < copy.origin_offset
                    assert {PLACES[user] for user in copy.recipient_ids} == {target}
                    last[target] = copy.origin_offset
                    under_way.append((copy.origin_offset, target))
            case "acknowledge" if under_way:
                acknowledged = under_way.pop(0)  # a producer session is a FIFO
                owed.discard(acknowledged)
                forwarder.acknowledged(acknowledged[0])
            case "caught up":
                forwarder.caught_up(offset - 1)
        assert set(under_way) <= owed
        assert all(forwarder.done < at for at, _ in owed)
    while copies := forwarder.take(2):
        for _, copy in copies:
            under_way.append((copy.origin_offset, 0))
    for at, _ in under_way:
        forwarder.acknowledged(at)
    forwarder.caught_up(offset - 1)
    assert forwarder.backlog == 0
    assert forwarder.done == max(done, offset - 1)
