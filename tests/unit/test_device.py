"""A device shows each event once, whatever comes twice, late, or over how many connections."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.device.device import (
    CaughtUp,
    Device,
    Disconnected,
    Gapped,
    Received,
    Rejected,
    Sent,
)
from cecochat.domain.errors import Refusal
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import (
    Ack,
    Delivered,
    Disconnect,
    Gap,
    Position,
    Refused,
    Send,
    ServerItem,
    Welcome,
)  # fmt: skip
from cecochat.v1.messaging_pb2 import (
    CaughtUp as CaughtUpItem,
)

CHAT = "d:alice~bob"


def event(number: int, user: str, client_message_id: str = "") -> Event:
    made = Event(id=number, user_id=user, chat_id=CHAT, client_message_id=client_message_id)
    made.message.text = str(number)
    return made


def send(number: int) -> Send:
    made = Send(client_message_id=f"s{number}", chat_id=CHAT)
    made.message.text = str(number)
    return made


def clock_ms(offset: int) -> int:
    """Of the log, there: three records a millisecond."""
    return 1_700_000_000_000 + offset // 3 if offset >= 0 else 0


class Log:
    """A partition as one session of alice is told it: offset n holds the event with id n + 1."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def append(self, user: str, client_message_id: str) -> int:
        self.events.append(event(len(self.events) + 1, user, client_message_id))
        return len(self.events) - 1

    def find(self, client_message_id: str) -> int | None:
        for offset, each in enumerate(self.events):
            if (each.user_id, each.client_message_id) == ("alice", client_message_id):
                return offset
        return None


def position(offset: int) -> Position:
    return Position(log_id="log", partition=0, offset=offset, clock_ms=clock_ms(offset))


def welcome(offset: int) -> ServerItem:
    return ServerItem(welcome=Welcome(position=position(offset)))


def delivered(offset: int, event: Event) -> ServerItem:
    item = Delivered(offset=offset, clock_ms=clock_ms(offset), event=event)
    return ServerItem(delivered=item)


def caught_up(offset: int) -> ServerItem:
    return ServerItem(caught_up=CaughtUpItem(offset=offset, clock_ms=clock_ms(offset)))


@given(st.data())
def test_each_event_once_in_any_interleaving(data: st.DataObject) -> None:
    """Bob and alice's other device write; her sends land or are lost; streams end anywhere; the
    device restarts from its snapshot.
    """
    log, device = Log(), Device("alice")
    shown: list[int] = []
    own: dict[str, int] = {}
    submitted = 0

    def take(item: ServerItem) -> None:
        happening = device.receive(item)
        assert device.position is not None
        assert device.position == position(device.position.offset)
        if isinstance(happening, Received):
            shown.append(happening.event.id)
        elif isinstance(happening, Sent):
            assert happening.send.client_message_id not in own
            own[happening.send.client_message_id] = happening.message_id

    def accept(frame_limit: int, answer: bool) -> None:
        while frame := device.outgoing(frame_limit):
            for each in frame.sends:
                offset = log.find(each.client_message_id)
                if offset is None:
                    offset = log.append("alice", each.client_message_id)
                if answer:
                    item = Ack(
                        client_message_id=each.client_message_id,
                        message_id=offset + 1,
                        offset=offset,
                        clock_ms=clock_ms(offset),
                    )
                    told.append(offset)
                    take(ServerItem(ack=item))

    def connect() -> int:
        hello = device.hello("test").hello
        start = hello.position.offset if hello.HasField("position") else len(log.events) - 1
        take(welcome(start))
        return start

    def deliver_up_to(start: int, end: int) -> int:
        for offset in range(start + 1, end):
            if offset not in told:
                take(delivered(offset, log.events[offset]))
        return max(start, end - 1)

    told: list[int] = []
    at = connect()  # live from the beginning
    take(caught_up(at))
    for _ in range(data.draw(st.integers(0, 20))):
        match data.draw(st.sampled_from(["bob", "tablet", "submit", "write", "lose", "reconnect",
                                         "restart", "deliver", "repeat"])):  # fmt: skip
            case "bob":
                log.append("bob", "")
            case "tablet":
                log.append("alice", f"t{len(log.events)}")
            case "submit":
                device.submit(send(submitted))
                submitted += 1
            case "write":
                at = deliver_up_to(at, len(log.events))
                accept(data.draw(st.integers(1, 3)), answer=True)
                at = len(log.events) - 1
            case "lose":  # appended, and the answer is lost with the stream
                at = deliver_up_to(at, len(log.events))
                accept(3, answer=False)
                told.clear()
                at = connect()
            case "deliver":
                at = deliver_up_to(at, data.draw(st.integers(at + 1, len(log.events))))
            case "repeat" if log.events:
                offset = data.draw(st.integers(0, len(log.events) - 1))
                if offset <= at:  # the history, or a server that tells it again
                    take(delivered(offset, log.events[offset]))
            case "reconnect" | "restart" as how:
                if how == "restart":
                    device = Device.restored(json.loads(json.dumps(device.snapshot())))
                told.clear()
                at = deliver_up_to(connect(), len(log.events))
                take(caught_up(at))
    told.clear()
    at = deliver_up_to(connect(), len(log.events))
    take(caught_up(at))
    accept(3, answer=True)
    expected = [
        each.id
        for each in log.events
        if not (each.user_id == "alice" and each.client_message_id.startswith("s"))
    ]
    assert shown == expected
    assert not device.outbox
    assert own == {f"s{n}": (log.find(f"s{n}") or 0) + 1 for n in range(submitted)}


@given(st.lists(st.integers(0, 3), max_size=10), st.booleans())
def test_a_snapshot_is_the_whole_device(steps: list[int], connected: bool) -> None:
    device = Device("alice")
    if connected:
        device.hello("test")
        device.receive(welcome(5))
    for n, step in enumerate(steps):
        if step == 0:
            device.submit(send(n))
        elif step == 1:
            device.show(event(n + 1, "bob"))
        elif step == 2 and connected:
            device.receive(caught_up(5 + n))
        elif device.outbox:
            device.answered(next(iter(device.outbox)), n + 1)
    kept = json.loads(json.dumps(device.snapshot()))
    again = Device.restored(kept)
    assert again.snapshot() == kept
    assert (again.position, again.outbox, again.shown, again.since) == (
        device.position, device.outbox, device.shown, device.since,
    )  # fmt: skip
    assert list(again.outbox) == list(device.outbox)


def test_a_gap_moves_the_position_only_when_it_is_filled() -> None:
    device = Device("alice")
    device.hello("test")
    device.receive(welcome(3))
    device.hello("test")
    device.receive(welcome(7))
    assert isinstance(device.receive(ServerItem(gap=Gap(from_offset=3, to_offset=7))), Gapped)
    assert device.position == position(3)
    device.filled()
    assert device.position == position(7)
    assert device.receive(caught_up(7)) == CaughtUp()


def test_a_position_is_moved_by_whole_places() -> None:
    """Of the same item, or not at all."""
    device = Device("alice")
    device.hello("test")
    device.receive(welcome(3))
    items = (
        delivered(9, event(1, "bob")),
        ServerItem(ack=Ack(client_message_id="s1", message_id=2, offset=12, clock_ms=clock_ms(12))),
        caught_up(15),
    )
    for item, offset in zip(items, (9, 12, 15), strict=True):
        device.receive(item)
        assert device.position == position(offset)
    for item in items[:2]:  # the answer to a repeat is that of its first
        device.receive(item)
        assert device.position == position(15)
    assert device.hello("test").hello.position == position(15)
    assert Device.restored(json.loads(json.dumps(device.snapshot()))).position == position(15)


def test_after_a_gap_the_position_may_be_lower_with_a_later_clock() -> None:
    """A log that lost its end gives offsets again."""
    device = Device("alice")
    device.hello("test")
    device.receive(welcome(30))
    device.hello("test")
    later = Position(log_id="log", partition=0, offset=20, clock_ms=clock_ms(90))
    device.receive(ServerItem(welcome=Welcome(position=later)))
    device.receive(ServerItem(gap=Gap(from_offset=30, to_offset=20)))
    device.filled()
    assert device.position == later
    device.receive(ServerItem(caught_up=CaughtUpItem(offset=21, clock_ms=clock_ms(91))))
    assert (device.position.offset, device.position.clock_ms) == (21, clock_ms(91))


def test_a_gap_that_was_not_filled_is_asked_for_again() -> None:
    device = Device("alice")
    device.hello("test")
    device.receive(welcome(3))
    before = device.hello("test").hello.position
    device.receive(welcome(6))
    device.receive(ServerItem(gap=Gap(from_offset=3, to_offset=6)))
    assert device.hello("test").hello.position == before


def test_a_refused_send_is_never_sent_again() -> None:
    device = Device("alice")
    device.hello("test")
    device.receive(welcome(3))
    device.receive(caught_up(3))
    device.submit(send(1))
    device.submit(send(2))
    assert device.outgoing(10) is not None
    refusal = Refusal(errors_pb2.ERROR_CODE_TOO_LARGE, "too long")
    happening = device.receive(
        ServerItem(refused=Refused(client_message_id="s1", error=refusal.proto()))
    )
    assert happening == Rejected(send(1), refusal.proto())
    device.hello("test")
    device.receive(welcome(3))
    device.receive(caught_up(3))
    frame = device.outgoing(10)
    assert frame is not None
    assert [each.client_message_id for each in frame.sends] == ["s2"]


def test_nothing_is_written_before_it_is_caught_up() -> None:
    device = Device("alice")
    device.submit(send(1))
    device.hello("test")
    device.receive(welcome(3))
    device.submit(send(2))
    assert device.outgoing(10) is None
    device.receive(caught_up(3))
    frame = device.outgoing(10)
    assert frame is not None
    assert frame.offset == 3
    assert [each.client_message_id for each in frame.sends] == ["s1", "s2"]


def test_a_disconnect_says_where_to_go() -> None:
    error = errors_pb2.Error(code=errors_pb2.ERROR_CODE_MOVED)
    item = ServerItem(disconnect=Disconnect(error=error, address="host:1"))
    assert Device("alice").receive(item) == Disconnected(error, "host:1")
