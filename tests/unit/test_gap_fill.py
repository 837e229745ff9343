"""What a device takes from the history to fill a gap, while more is being written."""

from __future__ import annotations

from cecochat.domain.cluster.partitions import partition_of
from cecochat.domain.device.device import Device, Received
from cecochat.domain.log.ids import message_id
from cecochat.v1.events_pb2 import Event, Message
from cecochat.v1.messaging_pb2 import Delivered, Gap, Position, ServerItem, Welcome

COUNT = 12
CHAT = "d:alice~bob"
BOB = partition_of("bob", COUNT)
ALICE = partition_of("alice", COUNT)


def event(number: int, user: str = "bob") -> Event:
    id_ = message_id(number << 10, partition_of(user, COUNT))
    return Event(id=id_, user_id=user, chat_id=CHAT, message=Message(text=str(number)))


def welcome(offset: int, up_to: dict[int, int]) -> ServerItem:
    position = Position(log_id="log", partition=ALICE, offset=offset, clock_ms=5_000 + offset)
    return ServerItem(welcome=Welcome(position=position, up_to=up_to, partition_count=COUNT))


def in_a_gap(up_to: int, since: int = 0) -> Device:
    """Alice's device, which lacks what Bob wrote after `since` up to `up_to`."""
    device = Device("alice")
    device.hello("phone")
    device.receive(welcome(0, {BOB: event(since).id} if since else {}))
    device.hello("phone")
    device.receive(welcome(90, {BOB: event(up_to).id}))
    device.receive(ServerItem(gap=Gap(from_offset=0, to_offset=90)))
    return device


def test_what_the_stream_brings_is_not_taken_from_the_history() -> None:
    """The history may have a later message of a sender and not yet an earlier one."""
    device = in_a_gap(up_to=5)
    assert device.fill(event(5)) == Received(event(5))
    assert device.fill(event(7)) is None
    device.filled()
    assert device.position == Position(log_id="log", partition=ALICE, offset=90, clock_ms=5_090)
    for number, offset in ((6, 91), (7, 92)):
        item = ServerItem(delivered=Delivered(offset=offset, event=event(number)))
        assert device.receive(item) == Received(event(number))


def test_nothing_from_before_the_device_is_shown() -> None:
    device = in_a_gap(up_to=9, since=5)
    assert device.fill(event(5)) is None
    assert device.fill(event(6)) == Received(event(6))


def test_a_chat_is_read_from_what_was_shown_of_it() -> None:
    device = in_a_gap(up_to=9, since=5)
    assert device.shown_up_to(CHAT) == 0, "of what Alice wrote before, nothing is known"
    device.fill(event(6))
    assert device.shown_up_to(CHAT) == 0
    device.show(event(7, "alice"))
    assert device.shown_up_to(CHAT) == event(6).id


def test_a_group_is_read_from_the_last_that_was_shown_of_it() -> None:
    """All of it comes in the order of ids, which have the partition of its home."""
    home = partition_of("g:hikers", COUNT)
    assert home not in (ALICE, BOB)
    first, *rest = (message_id(number << 10, home) for number in range(5, 9))
    device = Device("alice")
    device.hello("phone")
    device.receive(welcome(0, {home: first, BOB: event(99).id}))
    assert device.shown_up_to("g:hikers") == first
    for id_, user in zip(rest, ("bob", "carol", "alice"), strict=True):
        device.show(Event(id=id_, user_id=user, chat_id="g:hikers", message=Message(text="hello")))
        assert device.shown_up_to("g:hikers") == id_


def test_a_kept_device_still_knows_when_it_began() -> None:
    device = in_a_gap(up_to=9, since=5)
    again = Device.restored(device.snapshot())
    assert again.since == {BOB: event(5).id}
    assert again.shown_up_to("d:alice~bob") == device.shown_up_to("d:alice~bob")
