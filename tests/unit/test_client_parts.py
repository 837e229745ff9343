"""The pure parts of the client: back-off, inbox, receipts, names of chats."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.client import ChatError, SendRejected, chat_of, peer_of
from cecochat.client.arguments import check_text
from cecochat.client.backoff import ASKED_MAX_S, LEAST_S, BackOff, asked_for
from cecochat.client.events import CaughtUp, Message, hole_of
from cecochat.client.inbox import Entry, Inbox
from cecochat.client.local import LocalDevice
from cecochat.client.receipts import Marks
from cecochat.domain.device.device import Device
from cecochat.domain.log.ids import ChatId
from cecochat.v1 import events_pb2, history_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import (
    Ack,
    Delivered,
    Limits,
    Position,
    ReadToken,
    Send,
    ServerItem,
    Welcome,
)
from cecochat.v1.messaging_pb2 import CaughtUp as CaughtUpItem

A, B = ChatId("d:alice~bob"), ChatId("d:alice~carol")


def test_a_hole_for_a_reason_of_a_later_version_is_a_hole() -> None:
    reason_99 = b"\x18\x63"
    raw = history_pb2.Hole(chat_id="d:a~b").SerializeToString() + reason_99
    hole = history_pb2.Hole.FromString(raw)
    assert (hole_of(hole).chat_id, hole_of(hole).reason) == ("d:a~b", "unspecified")


back_offs = st.builds(
    BackOff,
    base_s=st.floats(0.01, 60),
    factor=st.floats(1, 10),
    max_s=st.floats(0.1, 600),
    jitter=st.floats(0, 1),
)
chances = st.floats(0, 1, exclude_max=True)


@given(back_offs, st.integers(0, 10_000), chances)
def test_a_wait_is_never_nothing_and_never_above_the_maximum(
    back_off: BackOff, attempt: int, chance: float
) -> None:
    wait_s = back_off.wait_s(attempt, chance)
    assert LEAST_S <= wait_s <= back_off.max_s
    assert back_off.wait_s(attempt + 1, chance) >= wait_s


@given(back_offs, st.integers(0, 100), chances, st.floats(0, 3_600))
def test_a_servers_wait_is_kept_to(
    back_off: BackOff, attempt: int, chance: float, at_least_s: float
) -> None:
    assert back_off.wait_s(attempt, chance, at_least_s) >= min(at_least_s, ASKED_MAX_S)


@pytest.mark.parametrize("junk", [math.nan, -1.0, -math.inf])
def test_a_wait_that_is_no_number_above_0_is_not_asked_for(junk: float) -> None:
    assert BackOff().wait_s(0, 0.5, junk) == BackOff().wait_s(0, 0.5)


@pytest.mark.parametrize("absurd", [1e9, 2.0**63, math.inf])
def test_nobody_waits_for_hours(absurd: float) -> None:
    assert BackOff().wait_s(0, 0.5, absurd) <= 1.5 * ASKED_MAX_S
    asked = asked_for({"base_s": absurd, "max_s": absurd, "factor": absurd})
    assert asked.wait_s(99, 0.5) <= ASKED_MAX_S


@pytest.mark.parametrize("junk", [math.nan, -1, -math.inf, "abc", None, {}])
def test_what_a_connect_server_asks_for_in_junk_is_not_given(junk: object) -> None:
    names = ("base_s", "factor", "max_s", "jitter")
    assert asked_for(dict.fromkeys(names, junk)) == asked_for(junk) == BackOff()
    assert asked_for({"base_s": 2, "of_a_later_version": 1}) == BackOff(base_s=2.0)


@pytest.mark.parametrize("limit", [-1, 0, -(1 << 31), 1, 1_024])
def test_a_limit_that_leaves_no_room_is_not_one(limit: int) -> None:
    local = LocalDevice(Device("alice"), listen=False, receipts=False, buffer_max_bytes=1_000)
    limits = Limits(sends_per_frame_max=min(limit, 1), frame_max_bytes=limit)
    position = Position(log_id="log", partition=3, offset=5)
    local.receive(ServerItem(welcome=Welcome(position=position, limits=limits)))
    local.receive(ServerItem(caught_up=CaughtUpItem(offset=5)))
    check_text("hello", limits.frame_max_bytes)
    local.progress.submit(Send(client_message_id="x", chat_id=A))
    frame = local.next_frame()
    assert frame is not None
    assert [send.client_message_id for send in frame.sends] == ["x"]


async def test_an_id_that_is_queued_is_refused_for_other_content_and_repeats_are_not() -> None:
    local = LocalDevice(Device("alice"), listen=False, receipts=False, buffer_max_bytes=1_000)

    def submit(chat_id: str, text: str) -> asyncio.Future[int]:
        message = events_pb2.Message(text=text)
        return local.submit(Send(client_message_id="x", chat_id=chat_id, message=message))

    first = submit(A, "one")
    assert submit(A, "one") is first
    for chat_id, text in ((A, "two"), (B, "one")):
        with pytest.raises(SendRejected) as caught:
            submit(chat_id, text).cancel()
        assert (caught.value.code, caught.value.client_message_id) == ("reused_id", "x")


def entry(name: str) -> Entry:
    return Entry(None, CaughtUp(name))


def name_of(got: Entry | None) -> str:
    assert got is not None
    assert isinstance(got.event, CaughtUp)
    return got.event.server_id


async def test_what_does_not_fit_is_dropped_until_the_rest_is_read() -> None:
    inbox = Inbox(max_bytes=1_000)
    for number in range(10):
        inbox.put(entry(str(number)), size=100)  # 300 with what Python adds
    assert inbox.overrun
    assert [name_of(await inbox.get()) for _ in range(3)] == ["0", "1", "2"]
    waiting = asyncio.create_task(inbox.get())
    await inbox.drained.wait()
    inbox.put(entry("still dropped"), size=1)
    inbox.restart()
    inbox.put(entry("3"), size=100)
    assert name_of(await waiting) == "3"
    assert not inbox.overrun


async def test_one_entry_fits_however_large_and_the_end_comes_after_it() -> None:
    inbox = Inbox(max_bytes=10)
    inbox.put(entry("large"), size=1_000_000)
    inbox.end()
    assert name_of(await inbox.get()) == "large"
    assert await inbox.get() is None


def test_reads_ask_for_all_own_messages_however_they_were_answered() -> None:
    local = LocalDevice(Device("alice"), listen=False, receipts=False, buffer_max_bytes=1_000)

    def told(**item: Any) -> ReadToken | None:
        local.receive(ServerItem(**item))
        return local.read_token()

    def token(offset: int, clock_ms: int) -> ReadToken:
        return ReadToken(log_id="log", offsets={3: offset}, clocks={3: clock_ms})

    assert told(welcome=Welcome(position=Position(log_id="log", partition=3, offset=5))) is None
    assert told(ack=Ack(message_id=9, offset=20, clock_ms=7_000)) == token(20, 7_000)
    assert told(ack=Ack(message_id=1, offset=10, clock_ms=6_000)) == token(20, 7_000)
    other = Event(id=10, chat_id="d:alice~bob", user_id="bob")
    assert told(delivered=Delivered(offset=25, clock_ms=8_000, event=other)) == token(20, 7_000)
    own = Event(id=11, chat_id="d:alice~bob", user_id="alice")
    assert told(delivered=Delivered(offset=30, clock_ms=9_000, event=own)) == token(30, 9_000)
    assert told(welcome=Welcome(position=Position(log_id="new", partition=3))) is None


def test_reads_ask_for_what_was_accepted_before_the_session() -> None:
    local = LocalDevice(Device("alice"), listen=False, receipts=False, buffer_max_bytes=1_000)
    token = ReadToken(log_id="log", offsets={3: 5, 7: 40}, clocks={3: 5_000, 7: 4_000})
    position = Position(log_id="log", partition=3, offset=5)
    local.receive(ServerItem(welcome=Welcome(position=position, token=token)))
    assert local.read_token() == token
    local.receive(ServerItem(ack=Ack(message_id=9, offset=20, clock_ms=7_000)))
    of_a_group = Ack(message_id=7 << 10, offset=21, home_offset=44, home_clock_ms=6_000)
    local.receive(ServerItem(ack=of_a_group))
    later = ReadToken(log_id="log", offsets={3: 20, 7: 44}, clocks={3: 7_000, 7: 6_000})
    assert local.read_token() == later
    local.receive(ServerItem(welcome=Welcome(position=position, token=token)))
    assert local.read_token() == later


async def test_what_the_application_has_handled_is_to_be_kept() -> None:
    """However long after the last save it says so, and whether or not anything arrives then."""
    local = LocalDevice(Device("bob"), listen=True, receipts=True, buffer_max_bytes=1_000)
    local.receive(ServerItem(welcome=Welcome(position=Position(log_id="log", partition=3))))
    event = Event(id=10, chat_id="d:alice~bob", user_id="alice", message=events_pb2.Message())
    local.receive(ServerItem(delivered=Delivered(offset=1, clock_ms=1_000, event=event)))
    assert isinstance(await local.next_event(), Message)
    local.to_keep.clear()
    local.deal()
    assert local.to_keep.is_set()


def test_reads_ask_for_what_was_accepted_last_by_a_log_that_lost_its_end() -> None:
    """It gives offsets again, under later clocks."""
    local = LocalDevice(Device("alice"), listen=False, receipts=False, buffer_max_bytes=1_000)
    position = Position(log_id="log", partition=3, offset=5, clock_ms=5_000)
    local.receive(ServerItem(welcome=Welcome(position=position)))
    local.receive(ServerItem(ack=Ack(message_id=9, offset=20, clock_ms=7_000)))
    local.receive(ServerItem(ack=Ack(message_id=10, offset=12, clock_ms=9_000)))
    token = ReadToken(log_id="log", offsets={3: 12}, clocks={3: 9_000})
    assert local.read_token() == token
    local.receive(ServerItem(ack=Ack(message_id=9, offset=20, clock_ms=7_000)))
    assert local.read_token() == token


def test_marks_are_joined_and_one_receipt_of_a_chat_is_under_way() -> None:
    marks = Marks()
    for message_id in (5, 9, 7):
        marks.delivered(A, message_id)
    marks.read(B, 3)
    told = marks.take()
    assert told[A].delivered_up_to == 9
    assert (told[B].read_up_to, told[B].delivered_up_to) == (3, 0)
    marks.delivered(A, 12)
    assert marks.take() == {}
    assert marks.answered(A)
    assert marks.take()[A].delivered_up_to == 12
    assert not marks.answered(A)
    assert not marks.answered(B)
    assert marks.idle


def test_a_mark_that_is_no_news_is_not_told() -> None:
    marks = Marks()
    marks.delivered(A, 5)
    marks.take()
    marks.answered(A)
    marks.delivered(A, 4)
    assert marks.take() == {}
    assert marks.idle


def test_a_chat_is_named_by_a_user_or_by_its_id() -> None:
    assert chat_of("bob", "alice") == chat_of("alice", "d:alice~bob") == "d:alice~bob"
    assert peer_of("alice", "d:alice~bob") == "bob"
    assert peer_of("bob", "d:alice~bob") == "alice"


def test_a_chat_is_of_ones_own_app() -> None:
    assert chat_of("shop/bob", "shop/alice") == "d:shop/alice~shop/bob"
    assert chat_of("shop/bob", "g:shop/team") == "g:shop/team"
    with pytest.raises(ChatError, match="the ids of your app begin with shop/"):
        chat_of("shop/bob", "alice")
    with pytest.raises(ChatError, match="you belong to no app"):
        chat_of("bob", "shop/alice")


@pytest.mark.parametrize("chat", ["", "no spaces", "d:b~a", "alice", "x" * 65, "a~b"])
def test_what_is_no_chat_is_refused_before_it_is_sent(chat: str) -> None:
    with pytest.raises(ChatError) as error:
        chat_of("alice", chat)
    assert error.value.code == "invalid_argument"
