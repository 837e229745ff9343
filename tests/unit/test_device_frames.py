"""The frames that a device writes: all sends, in order, each frame within the server's limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.device.device import Device
from cecochat.domain.session.intake import FRAME_MAX_BYTES
from cecochat.v1.messaging_pb2 import CaughtUp, Position, Send, ServerItem, Welcome

TEXT_MAX_BYTES = 32 << 10  # the highest that the configuration allows


def caught_up_device() -> Device:
    device = Device("alice")
    device.hello("test")
    device.receive(ServerItem(welcome=Welcome(position=Position(log_id="a", offset=0))))
    device.receive(ServerItem(caught_up=CaughtUp(offset=0)))
    return device


def a_send(number: int, size: int) -> Send:
    send = Send(client_message_id=str(number), chat_id="d:alice~bob")
    send.message.text = "x" * size
    return send


@given(st.lists(st.integers(1, TEXT_MAX_BYTES), max_size=30), st.integers(1, 8))
def test_every_send_is_written_in_order_and_no_frame_is_too_large(
    sizes: list[int], sends_max: int
) -> None:
    device = caught_up_device()
    for number, size in enumerate(sizes):
        device.submit(a_send(number, size))
    written: list[str] = []
    while frame := device.outgoing(sends_max):
        assert frame.ByteSize() <= FRAME_MAX_BYTES
        assert len(frame.sends) <= sends_max
        written += [send.client_message_id for send in frame.sends]
    assert written == [str(number) for number in range(len(sizes))]
