"""Frames made by hand are the protobuf's, and join."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Refusal
from cecochat.domain.log import wire
from cecochat.domain.log.place import Place
from cecochat.domain.session import frames
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.history_pb2 import GetMessagesResponse
from cecochat.v1.messaging_pb2 import Ack, CaughtUp, Delivered, ServerFrame, ServerItem
from tests.unit.test_records import INT63, events


def decoded(data: bytes) -> tuple[int, int]:
    """Value and length of the varint in front."""
    value = 0
    for at, byte in enumerate(data):
        value |= (byte & 0x7F) << 7 * at
        if not byte & 0x80:
            return value, at + 1
    raise AssertionError("it has no end")


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_a_varint_is_read_back_whatever_follows(value: int, rest: bytes) -> None:
    encoded = wire.varint(value)
    assert decoded(encoded + rest) == (value, len(encoded))
    assert len(encoded) == max(1, -(-value.bit_length() // 7))


PLACES = st.builds(Place, st.integers(1, (1 << 63) - 1), st.integers(1, (1 << 63) - 1))


@given(PLACES, events())
def test_a_delivered_frame_is_byte_for_byte_the_protobufs(at: Place, event: Event) -> None:
    """But that the event, which is long, comes last."""
    delivered = Delivered(offset=at.offset, clock_ms=at.clock_ms, event=event)
    frame = ServerFrame(items=[ServerItem(delivered=delivered)])
    made = frames.delivered(at, event.SerializeToString())
    assert ServerFrame.FromString(made) == frame
    before = Delivered(offset=at.offset, clock_ms=at.clock_ms).SerializeToString()
    body = before + Delivered(event=event).SerializeToString()
    assert made == frame.SerializeToString().replace(delivered.SerializeToString(), body)


def test_zeros_are_read_as_zeros() -> None:
    event = Event(id=1, user_id="alice")
    frame = ServerFrame.FromString(frames.delivered(Place(0, 0), event.SerializeToString()))
    assert frame.items[0].delivered == Delivered(offset=0, clock_ms=0, event=event)


@given(PLACES)
def test_answers_carry_the_whole_place(at: Place) -> None:
    ack, caught_up = (
        ServerFrame.FromString(each).items[0]
        for each in (frames.ack("id", 7, at), frames.caught_up(at))
    )
    assert ack.ack == Ack(
        client_message_id="id", message_id=7, offset=at.offset, clock_ms=at.clock_ms
    )
    assert caught_up.caught_up == CaughtUp(offset=at.offset, clock_ms=at.clock_ms)


@given(st.lists(events(), max_size=5))
def test_frames_join(many: list[Event]) -> None:
    chunks = [
        frames.delivered(Place(5_000, n + 1), event.SerializeToString())
        for n, event in enumerate(many)
    ]
    chunks.append(frames.ack("id", 7, Place(5_001, 9)))
    frame = ServerFrame.FromString(b"".join(chunks))
    assert [item.delivered.event for item in frame.items[:-1]] == many
    assert frame.items[-1].ack.offset == 9
    assert frame.items[-1].ack.clock_ms == 5_001


@given(st.lists(events(), max_size=5), INT63)
def test_stored_events_join_an_answer(many: list[Event], mark: int) -> None:
    rest = GetMessagesResponse(has_more=True)
    rest.marks.add(user_id="bob", read_up_to=mark)
    raw = wire.repeated(1, [event.SerializeToString() for event in many])
    answer = GetMessagesResponse.FromString(raw + rest.SerializeToString())
    assert list(answer.messages) == many
    assert answer.has_more
    assert answer.marks[0].read_up_to == mark


@given(st.sampled_from(sorted(errors_pb2.ErrorCode.values())), st.text(), st.integers(0, 1 << 40))
def test_a_refusal_travels(code: errors_pb2.ErrorCode.ValueType, text: str, wait_ms: int) -> None:
    refusal = Refusal(code, text, wait_ms)
    item = ServerFrame.FromString(frames.refused("id", refusal)).items[0].refused
    assert item.error == refusal.proto()
    assert item.error.retriable == refusal.retriable
    gone = ServerFrame.FromString(frames.disconnect(refusal, "host:1")).items[0].disconnect
    assert (gone.error, gone.address) == (refusal.proto(), "host:1")
