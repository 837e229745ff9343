"""What a device says of typing and presence, and what it makes of what it is told."""

from __future__ import annotations

import pytest

from cecochat.domain.device.signals import (
    EVERY_S,
    OVER_S,
    OVERTAKEN_S,
    DeviceSignals,
    IsRefused,
    IsSeen,
    Types,
)
from cecochat.v1 import errors_pb2
from cecochat.v1.errors_pb2 import Error
from cecochat.v1.events_pb2 import Presence, Typing
from cecochat.v1.messaging_pb2 import Signal, SignalRefused

CHAT, OTHER = "d:alice~bob", "d:alice~carol"


@pytest.fixture
def device() -> DeviceSignals:
    """In a session whose server takes signals."""
    made = DeviceSignals()
    made.begin(True, 0.0)
    return made


def typing(active: bool = True, chat_id: str = CHAT) -> Signal:
    return Signal(chat_id=chat_id, user_id="bob", typing=Typing(active=active))


def said(device: DeviceSignals, now_s: float) -> list[tuple[str, bool]]:
    """What the device writes of its own typing."""
    written = []
    while frame := device.outgoing(now_s):
        if frame.HasField("typing"):
            written.append((frame.typing.chat_id, frame.typing.active))
    return written


def test_a_server_that_takes_no_signals_is_told_none() -> None:
    device = DeviceSignals()
    device.watch([CHAT], 0.0)
    device.begin(False, 0.0)
    device.hide(True)
    device.types(CHAT, True, 0.0)
    assert device.outgoing(10.0) is None
    assert device.due_s(0.0) is None


def test_each_session_is_told_what_is_watched(device: DeviceSignals) -> None:
    device.watch([CHAT, CHAT, OTHER], 1.0)
    for _ in range(2):
        frame = device.outgoing(1.0)
        assert frame
        assert list(frame.watch.chat_ids) == [CHAT, OTHER]
        assert device.outgoing(1.0) is None
        device.hello()
        assert device.outgoing(1.0) is None
        device.begin(True, 1.0)


def test_nothing_is_watched_where_nothing_was(device: DeviceSignals) -> None:
    assert device.outgoing(1.0) is None


def test_each_key_is_said_every_three_seconds(device: DeviceSignals) -> None:
    for tenth in range(100):
        device.types(CHAT, True, tenth / 10)
    assert said(device, 10.0) == [(CHAT, True)], "what was not written yet is said once"
    times_s = [each / 10 for each in range(200, 300)]
    written = []
    for now_s in times_s:
        device.types(CHAT, True, now_s)
        written += said(device, now_s)
    assert len(written) == 1 + int(9.9 / EVERY_S)


def test_stopping_is_said_once_and_a_message_says_it_too(device: DeviceSignals) -> None:
    device.types(CHAT, False, 1.0)
    assert said(device, 1.0) == []
    device.types(CHAT, True, 1.0)
    assert said(device, 1.0) == [(CHAT, True)]
    device.types(CHAT, False, 1.5)
    device.types(CHAT, False, 1.5)
    assert said(device, 1.5) == [(CHAT, False)]
    device.types(CHAT, True, 5.0)
    device.sent(CHAT)
    assert said(device, 5.0) == []


def test_hiding_is_said_in_the_session_and_then_in_each_first_frame(device: DeviceSignals) -> None:
    device.hide(True)
    frame = device.outgoing(1.0)
    assert frame
    assert frame.invisible
    device.hello()
    device.begin(True, 2.0)
    assert device.invisible
    assert device.outgoing(2.0) is None


def test_typing_is_told_when_it_begins_and_when_it_is_over(device: DeviceSignals) -> None:
    device.watch([CHAT], 0.0)
    assert device.receive(typing(), 1.0) == Types(CHAT, "bob", True)
    assert device.receive(typing(), 4.0) is None
    assert device.due_s(4.0) == 4.0 + OVER_S
    assert device.over(4.0 + OVER_S - 0.1) == []
    assert device.over(4.0 + OVER_S) == [Types(CHAT, "bob", False)]
    assert device.receive(typing(active=False), 11.0) is None


def test_typing_ends_with_a_word_or_a_message(device: DeviceSignals) -> None:
    device.watch([CHAT], 0.0)
    for _ in range(2):
        device.receive(typing(), 1.0)
        assert device.receive(typing(active=False), 2.0) == Types(CHAT, "bob", False)
        device.receive(typing(), 3.0)
        assert device.wrote(CHAT, "bob", 0.0) == Types(CHAT, "bob", False)
    assert device.wrote(CHAT, "bob", 4.0) is None


def test_typing_that_its_message_has_overtaken_is_over(device: DeviceSignals) -> None:
    device.wrote(CHAT, "bob", 1.0)
    device.watch([CHAT], 1.1)  # because of this message
    assert device.receive(typing(), 1.2) is None
    assert device.receive(typing(), 1.0 + OVERTAKEN_S) == Types(CHAT, "bob", True)


def test_presence_is_told_of_chats_that_are_watched(device: DeviceSignals) -> None:
    presence = Presence(last_seen_ms=5_000)
    signal = Signal(chat_id=CHAT, user_id="bob", presence=presence)
    assert device.receive(signal, 1.0) is None
    device.watch([CHAT], 1.0)
    assert device.receive(signal, 1.0) == IsSeen(CHAT, "bob", False, 5_000)
    assert device.receive(Signal(chat_id=CHAT, user_id="bob"), 1.0) is None, "of a later version"


def test_a_refusal_that_passes_is_asked_again_and_another_is_told(device: DeviceSignals) -> None:
    device.watch([CHAT], 0.0)
    assert device.outgoing(0.0)
    code = errors_pb2.ERROR_CODE_RATE_LIMITED
    limited = Error(code=code, retriable=True, retry_after_ms=2_000)
    assert device.refused(SignalRefused(error=limited), 1.0) is None
    assert device.due_s(1.0) == 3.0
    assert device.outgoing(2.9) is None
    frame = device.outgoing(3.0)
    assert frame
    assert list(frame.watch.chat_ids) == [CHAT]
    forbidden = Error(code=errors_pb2.ERROR_CODE_FORBIDDEN)
    assert device.refused(SignalRefused(error=forbidden), 4.0) == IsRefused(forbidden)
