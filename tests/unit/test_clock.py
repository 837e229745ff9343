"""The clock of an owner beside that of its log: when state records are due, what ids it gives, and
when it is not to be believed.
"""

from __future__ import annotations

import pytest

from cecochat.domain.errors import Refusal
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import EPOCH_MS, SEQUENCE_MAX, UserId, message_id, stamp_at, time_ms
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS, OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, Takeover, decode, encode
from cecochat.domain.ownership.clock import LOOK_AGAIN_MS, OwnClock
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session.session import Session
from cecochat.v1.messaging_pb2 import Send

# -- state records

HERE = Here(0, lambda _: 0)


def test_a_state_record_is_due_by_number_and_by_time() -> None:
    limits = OwnerLimits(state_every=3, state_after_ms=1_000)
    owner = Owner(0, "session", Fold(HERE), cursor=0, forwarded=-1, limits=limits)
    owner.read(0, owner.takeover("server", 1, 5_000), 4_000, 5_000)
    assert not owner.state_due(5_999)
    assert owner.state_due(6_000), "on a quiet partition retention would leave none"
    state = owner.states(6_000)[0]
    assert (state.as_of, state.clock_ms) == (0, 4_000)
    assert not owner.state_due(6_999)
    owner.read(1, state, 4_001, 6_500)
    assert not owner.state_due(7_499)
    assert owner.state_due(7_500)
    owner.read(2, Takeover("server", "another", 2), 4_002, 6_500)
    owner.read(3, Takeover("server", "another", 3), 4_002, 6_500)
    assert owner.state_due(6_500)


# -- clocks


def test_a_clock_beyond_all_ids_changes_nothing() -> None:
    owner = Owner(0, "session", Fold(HERE), cursor=0, forwarded=-1, limits=OwnerLimits())
    owner.read(0, owner.takeover("server", 1, EPOCH_MS), EPOCH_MS + 1, EPOCH_MS + 2)
    session = Session("s", UserId("alice"), queue_max_bytes=1_000, wake=lambda: None)
    send = Send(client_message_id="1", chat_id="d:alice~bob")
    send.message.text = "hello"
    for year in (2090, 9_999):
        far_ms = (year - 1_970) * 366 * 86_400_000
        with pytest.raises(Refusal, match="ahead of the log's"):
            owner.accept(session.user_id, send, (UserId("bob"),), far_ms)
        with pytest.raises(Refusal, match="no message ids are left"):
            owner.next_stamp(far_ms)
    assert not owner.pending
    origin = owner.accept(session.user_id, send, (UserId("bob"),), EPOCH_MS + 5)
    assert (origin.number, time_ms(origin.id)) == (0, EPOCH_MS + 5)
    assert owner.read(1, decode(*encode(origin)), 2, 0)


def test_a_clock_that_is_ahead_of_the_log_accepts_nothing_until_a_record_shows_it_right() -> None:
    """It jumps by an hour, and is put right again."""
    owner = Owner(0, "session", Fold(HERE), cursor=0, forwarded=-1, limits=OwnerLimits())
    right_ms, hour_ms = EPOCH_MS + 10_000, 3_600_000
    owner.read(0, owner.takeover("server", 1, right_ms), right_ms + 5, right_ms + 9)
    assert owner.clock.is_right(right_ms + 9)
    ahead_ms = right_ms + hour_ms
    owner.expire(ahead_ms)
    assert not owner.clock.is_right(ahead_ms)
    assert owner.state_due(ahead_ms), "a record has to show how it is"
    owner.read(1, owner.states(ahead_ms)[0], right_ms + 50, ahead_ms + 9)
    assert owner.clock.ahead_ms == hour_ms - 50
    assert not owner.clock.is_right(ahead_ms + 9)
    assert not owner.state_due(ahead_ms + 10)
    assert owner.state_due(ahead_ms + LOOK_AGAIN_MS)
    again_ms = right_ms + 20_000
    assert owner.state_due(again_ms), "it was put right: look at once"
    owner.read(2, owner.states(again_ms)[0], again_ms + 5, again_ms + 9)
    assert owner.clock.is_right(again_ms + 9)


def test_a_slow_append_makes_no_clock_wrong() -> None:
    clock = OwnClock()
    clock.compare(EPOCH_MS, EPOCH_MS)
    for second in range(100):
        clock.go_on(EPOCH_MS + 1_000 * second)
    clock.compare(EPOCH_MS + 5_000, EPOCH_MS + 90_000)  # it took so long to be appended
    assert clock.is_right(EPOCH_MS + 99_000)


def test_what_was_made_by_a_wrong_clock_shows_nothing_of_a_later_one() -> None:
    """It was set years ahead, back, and ahead again, while its records were under way."""
    clock, ahead_ms = OwnClock(), EPOCH_MS + 10 * 366 * 86_400_000
    clock.compare(EPOCH_MS, EPOCH_MS)
    clock.compare(ahead_ms, EPOCH_MS + 1_000)
    clock.compare(EPOCH_MS + 2_000, EPOCH_MS + 2_000)
    assert not clock.is_right(ahead_ms + 3_000)
    assert clock.is_right(EPOCH_MS + 3_000)


def test_a_clock_that_jumps_to_and_fro_is_not_right_by_what_was_measured_in_between() -> None:
    """It was ahead, then a record showed that it was behind; ahead again, it is not right."""
    clock, ahead_ms = OwnClock(), EPOCH_MS + 10 * CLOCKS_APART_MAX_MS
    clock.compare(ahead_ms, EPOCH_MS)
    clock.compare(EPOCH_MS - 1_000, EPOCH_MS)
    assert not clock.is_right(ahead_ms)
    assert clock.is_right(EPOCH_MS)


def test_a_clock_behind_the_log_is_not_asked() -> None:
    owner = Owner(0, "session", Fold(HERE), cursor=0, forwarded=-1, limits=OwnerLimits())
    behind_ms, log_ms = EPOCH_MS + 10_000, EPOCH_MS + 99_000
    owner.read(0, owner.takeover("server", 1, behind_ms), log_ms, behind_ms)
    stamp = owner.next_stamp(behind_ms, message_id(stamp_at(log_ms + 30_000), 7))
    assert stamp > stamp_at(log_ms + 30_000), "an answer sorts after what it answers"


def test_a_copy_far_ahead_of_the_log_does_not_take_this_partition_with_it() -> None:
    fold, now_ms = Fold(), EPOCH_MS + 10_000
    id_ = message_id(stamp_at(now_ms + 10 * 366 * 86_400_000), 7)
    assert fold.step(0, Copy(id_, 7, Place(1, 0), NOWHERE, (UserId("bob"),), b""), now_ms)
    assert fold.top == stamp_at(now_ms + CLOCKS_APART_MAX_MS) | SEQUENCE_MAX
