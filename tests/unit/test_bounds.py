"""What owners remember and clients may do: sent table, token bucket, configuration, resume."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.cluster import assignment, configuration
from cecochat.domain.cluster.configuration import KEYS, Config
from cecochat.domain.errors import InvalidSettings, Refusal
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import EPOCH_MS, SEQUENCE_MAX, UserId, message_id, stamp_at, time_ms
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS, OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Copy, Takeover, decode, encode
from cecochat.domain.ownership.clock import LOOK_AGAIN_MS, OwnClock
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.ownership.sent import Accepted, SentTable
from cecochat.domain.session import resume
from cecochat.domain.session.bucket import TokenBucket
from cecochat.domain.session.resume import Start
from cecochat.domain.session.session import Session
from cecochat.v1.messaging_pb2 import Hello, Position, Send

# -- the sent table

STEPS = st.lists(
    st.tuples(st.just("add"), st.integers(0, 6))
    | st.tuples(st.just("expire"), st.integers(0, 400)),
    max_size=60,
)  # fmt: skip


@given(STEPS, st.integers(0, 5), st.integers(1, 500), st.booleans())
def test_the_table_knows_every_send_above_its_floor(
    steps: list[tuple[str, int]], entries_max: int, window_ms: int, unique: bool
) -> None:
    table = SentTable(9, OwnerLimits(resend_window_ms=window_ms, resend_entries_max=entries_max))
    now_ms, offset, announced = 1_000, 10, 9
    accepted: dict[tuple[UserId, str], Place] = {}
    for step, value in steps:
        if step == "add":
            key = (UserId("user"), f"{value} {offset if unique else ''}")
            accepted[key] = Place(now_ms, offset)
            table.add(key, Accepted(offset, accepted[key], now_ms, 0))
            offset += 1
        else:
            now_ms += value
            floor_before = table.floor
            assert table.expire(now_ms) >= table.floor
            assert table.floor >= floor_before
            assert table.floor <= announced, "only what was announced is forgotten"
            announced = table.announced
            assert announced >= table.floor
        for key, at in accepted.items():
            if at.offset > table.floor:
                known = table.find(key)
                assert known is not None
                assert known.at == at
            assert table.covers(at.offset - 1) or at.offset <= table.floor


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_table_is_bounded_once_it_has_been_told(sends: int, entries_max: int) -> None:
    table = SentTable(-1, OwnerLimits(resend_entries_max=entries_max))
    for offset in range(sends):
        table.add((UserId("user"), str(offset)), Accepted(offset, Place(0, offset), 0, 0))
    table.expire(1)
    table.expire(1)
    assert len(table) == min(sends, entries_max)


# -- state records


def test_a_state_record_is_due_by_number_and_by_time() -> None:
    limits = OwnerLimits(state_every=3, state_after_ms=1_000)
    owner = Owner(0, "session", Fold(lambda _: 0), cursor=0, forwarded=-1, limits=limits)
    owner.read(0, owner.takeover("server", 1, 5_000), 4_000, 5_000)
    assert not owner.state_due(5_999)
    assert owner.state_due(6_000), "on a quiet partition retention would leave none"
    state = owner.state(6_000)
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
    owner = Owner(0, "session", Fold(lambda _: 0), cursor=0, forwarded=-1, limits=OwnerLimits())
    owner.read(0, owner.takeover("server", 1, EPOCH_MS), EPOCH_MS + 1, EPOCH_MS + 2)
    session = Session("s", UserId("alice"), queue_max_bytes=1_000, wake=lambda: None)
    send = Send(client_message_id="1", chat_id="d:alice~bob")
    send.message.text = "hello"
    for year in (2090, 9_999):
        far_ms = (year - 1_970) * 366 * 86_400_000
        with pytest.raises(Refusal, match="ahead of the log's"):
            owner.accept(session, send, (UserId("bob"),), far_ms)
        with pytest.raises(Refusal, match="no message ids are left"):
            owner.next_stamp(far_ms)
    assert not owner.pending
    origin = owner.accept(session, send, (UserId("bob"),), EPOCH_MS + 5)
    assert (origin.number, time_ms(origin.id)) == (0, EPOCH_MS + 5)
    assert owner.read(1, decode(*encode(origin)), 2, 0)


def test_a_clock_that_is_ahead_of_the_log_accepts_nothing_until_a_record_shows_it_right() -> None:
    """It jumps by an hour, and is put right again."""
    owner = Owner(0, "session", Fold(lambda _: 0), cursor=0, forwarded=-1, limits=OwnerLimits())
    right_ms, hour_ms = EPOCH_MS + 10_000, 3_600_000
    owner.read(0, owner.takeover("server", 1, right_ms), right_ms + 5, right_ms + 9)
    assert owner.clock.is_right(right_ms + 9)
    ahead_ms = right_ms + hour_ms
    owner.expire(ahead_ms)
    assert not owner.clock.is_right(ahead_ms)
    assert owner.state_due(ahead_ms), "a record has to show how it is"
    owner.read(1, owner.state(ahead_ms), right_ms + 50, ahead_ms + 9)
    assert owner.clock.ahead_ms == hour_ms - 50
    assert not owner.clock.is_right(ahead_ms + 9)
    assert not owner.state_due(ahead_ms + 10)
    assert owner.state_due(ahead_ms + LOOK_AGAIN_MS)
    again_ms = right_ms + 20_000
    assert owner.state_due(again_ms), "it was put right: look at once"
    owner.read(2, owner.state(again_ms), again_ms + 5, again_ms + 9)
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
    owner = Owner(0, "session", Fold(lambda _: 0), cursor=0, forwarded=-1, limits=OwnerLimits())
    behind_ms, log_ms = EPOCH_MS + 10_000, EPOCH_MS + 99_000
    owner.read(0, owner.takeover("server", 1, behind_ms), log_ms, behind_ms)
    stamp = owner.next_stamp(behind_ms, message_id(stamp_at(log_ms + 30_000), 7))
    assert stamp > stamp_at(log_ms + 30_000), "an answer sorts after what it answers"


def test_a_copy_far_ahead_of_the_log_does_not_take_this_partition_with_it() -> None:
    fold, now_ms = Fold(), EPOCH_MS + 10_000
    id_ = message_id(stamp_at(now_ms + 10 * 366 * 86_400_000), 7)
    assert fold.step(0, Copy(id_, 7, Place(1, 0), NOWHERE, (UserId("bob"),), b""), now_ms)
    assert fold.top == stamp_at(now_ms + CLOCKS_APART_MAX_MS) | SEQUENCE_MAX


# -- the token bucket

TAKES = st.lists(st.tuples(st.floats(0, 10), st.integers(1, 20)), max_size=40)


@given(TAKES, st.floats(0.1, 100), st.integers(1, 50))
def test_sends_over_the_rate_wait_as_long_as_they_have_to(
    takes: list[tuple[float, int]], rate: float, burst: int
) -> None:
    """What is taken within any time from the beginning is at most the burst and the rate, and who
    waits as long as was said gets at least one.
    """
    bucket, now_s, taken = TokenBucket(burst, 0.0), 0.0, 0
    for pause_s, count in takes:
        now_s += pause_s
        if not (got := bucket.take_up_to(count, now_s, rate, burst)):
            now_s += bucket.wait_s(1, rate) + 1e-6
            got = bucket.take_up_to(count, now_s, rate, burst)
        assert 1 <= got <= count
        taken += got
        assert taken <= burst + rate * now_s + 1e-6


@given(TAKES, st.floats(0.1, 100), st.integers(1, 50))
def test_a_connect_is_let_in_when_it_was_said(
    takes: list[tuple[float, int]], rate: float, burst: int
) -> None:
    bucket, now_s = TokenBucket(burst, 0.0), 0.0
    for pause_s, _ in takes:
        now_s += pause_s
        wait_s = bucket.try_take(now_s, rate, burst)
        if wait_s:
            assert bucket.try_take(now_s, rate, burst) == pytest.approx(wait_s)
            now_s += wait_s + 1e-6
            assert bucket.try_take(now_s, rate, burst) == 0.0


def test_a_clock_that_turns_back_gives_nothing() -> None:
    bucket = TokenBucket(1, 100.0)
    assert bucket.try_take(100.0, 1.0, 1) == 0.0
    assert bucket.try_take(50.0, 1.0, 1) == 1.0


# -- the configuration


@st.composite
def good_documents(draw: st.DrawFn) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for name in draw(st.sets(st.sampled_from(sorted(KEYS)))):
        _, key, default = KEYS[name]
        if isinstance(default, str):
            document[name] = draw(st.sampled_from(configuration.LOG_LEVELS))
        elif isinstance(default, bool):
            document[name] = draw(st.booleans())
        elif isinstance(default, int):
            document[name] = draw(st.integers(int(key.low), int(key.high)))
        else:
            document[name] = draw(st.floats(key.low, key.high))
    return document


@given(good_documents())
def test_a_good_document_is_what_it_says(document: dict[str, Any]) -> None:
    config = configuration.parse(document)
    for name, (attribute, _, default) in KEYS.items():
        value = getattr(config, attribute)
        assert value == document.get(name, default)
        assert type(value) is type(default)


def test_an_empty_document_is_the_defaults() -> None:
    assert configuration.parse({}) == Config()


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
)


@given(st.one_of(ANYTHING, st.dictionaries(st.sampled_from(sorted(KEYS)), ANYTHING)))
def test_any_other_document_is_refused(document: Any) -> None:
    try:
        config = configuration.parse(document)
    except InvalidSettings:
        pass
    else:
        assert all(name in KEYS for name in document)
        for name, value in document.items():
            assert getattr(config, KEYS[name][0]) == value


@given(good_documents())
def test_what_a_person_types_is_the_value(document: dict[str, Any]) -> None:
    for name, value in document.items():
        assert configuration.from_text(name, str(value)) == value


@pytest.mark.parametrize("text", ["", "x", "1e400", "nan", "1_0x", "-1", "0x10", "1.5"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettings):
        configuration.from_text("sessions.max_per_user", text)


# -- the assignment


@given(st.integers(1, 64), st.data())
def test_an_assignment_names_owners(partitions: int, data: st.DataObject) -> None:
    owners = data.draw(st.dictionaries(st.integers(0, partitions - 1), st.text()))
    document = {str(partition): owner for partition, owner in owners.items()}
    assert assignment.parse(document, partitions) == owners


@given(st.one_of(ANYTHING, st.dictionaries(st.text(max_size=3), ANYTHING)))
def test_any_other_assignment_is_refused(document: Any) -> None:
    try:
        owners = assignment.parse(document, 4)
    except InvalidSettings:
        pass
    else:
        assert {str(partition): owner for partition, owner in owners.items()} == document


# -- resume


@given(
    st.integers(-1, 30),
    st.integers(-1, 20),
    st.integers(0, 20),
    st.integers(0, 5),
    st.booleans(),
    st.integers(0, 1),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_where_a_session_starts(
    offset: int,
    first_known: int,
    length: int,
    unread: int,
    other_log: bool,
    partition: int,
    clock_ms: int,
    appended_at_ms: int,
) -> None:
    read_to = first_known + 1 + length
    position = Position(log_id="b" if other_log else "a", partition=partition)
    position.offset, position.clock_ms = offset, clock_ms
    hello = Hello(position=position)
    own = not other_log and not partition

    def started() -> Start:
        return resume.start(
            hello,
            log_id="a",
            partition=0,
            first_known=first_known,
            log_end=read_to + unread,
            read_to=read_to,
            appended_at_ms=appended_at_ms,
        )

    if own and read_to <= offset < read_to + unread:
        with pytest.raises(Refusal):  # this owner lags behind the client
            started()
        return
    start = started()
    assert first_known <= start.position < read_to
    if not own or offset >= read_to:
        assert start == Start(read_to - 1, gapped=True)
    elif offset < first_known:
        assert start == Start(first_known, gapped=True)
    elif clock_ms and appended_at_ms > clock_ms:
        assert start == Start(read_to - 1, gapped=True)
    else:
        assert start == Start(offset, gapped=False)


@given(st.integers(-1, 20), st.integers(0, 30))
def test_without_a_position_a_session_starts_live(first_known: int, length: int) -> None:
    end = first_known + 1 + length
    start = resume.start(
        Hello(),
        log_id="a",
        partition=0,
        first_known=first_known,
        log_end=end,
        read_to=end,
        appended_at_ms=0,
    )
    assert start == Start(end - 1, gapped=False)


@pytest.mark.parametrize(
    ("clock_ms", "appended_at_ms", "start"),
    [
        (5_000, 5_001, Start(30, gapped=True)),  # the log has lost its end, and gives offsets again
        (5_000, 5_000, Start(20, gapped=False)),
        (5_000, 4_000, Start(20, gapped=False)),  # an earlier one had the later clock
        (5_000, 0, Start(20, gapped=False)),  # nothing to compare
        (0, 5_001, Start(20, gapped=False)),  # a client of a first version
    ],
)
def test_a_position_whose_record_was_appended_later_than_its_clock_is_a_gap(
    clock_ms: int, appended_at_ms: int, start: Start
) -> None:
    position = Position(log_id="a", partition=2, offset=20, clock_ms=clock_ms)
    started = resume.start(
        Hello(position=position),
        log_id="a",
        partition=2,
        first_known=9,
        log_end=31,
        read_to=31,
        appended_at_ms=appended_at_ms,
    )
    assert started == start


def test_a_gap_names_all_that_was_seen_with_its_clocks() -> None:
    fold = Fold()
    fold.clock_ms = 7_000
    fold.high = {1: Copied(Place(6_000, 40), 1), 2: Copied(Place(0, 50), 2)}
    hello = Hello(position=Position(log_id="a", partition=3, offset=4, clock_ms=2_000))
    gap = resume.gap(hello, "a", 3, 9, fold, 12)
    assert (gap.from_offset, gap.to_offset, gap.token.log_id) == (4, 9, "a")
    assert dict(gap.token.offsets) == {1: 40, 2: 50, 3: 9}
    assert {p: gap.token.clocks.get(p, 0) for p in (1, 2, 3)} == {1: 6_000, 2: 0, 3: 7_000}


def test_a_gap_asks_for_no_partition_that_there_is_not() -> None:
    """The history would refuse the token, and the device could never go on."""
    fold = Fold()
    fold.high = {1: Copied(Place(5, 7), 1), 99: Copied(Place(5, 7), 1)}
    told = resume.gap(Hello(), "log", 0, 3, fold, 4)
    assert dict(told.token.offsets) == {0: 3, 1: 7}
