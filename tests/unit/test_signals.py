"""Typing and presence without a network: what is told, and that what was lost is put right."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import ChatId, UserId, dialog
from cecochat.domain.session.session import Session
from cecochat.domain.signals import outbox as outboxes
from cecochat.domain.signals.interests import LEASE_S, watched_as
from cecochat.domain.signals.outbox import Outbox
from cecochat.domain.signals.presence import GRACE_S, SETTLE_S, Presence
from cecochat.domain.signals.relaying import Relay
from cecochat.domain.signals.typing import BURST, CHATS_MAX, EVERY_S, Typing
from cecochat.domain.signals.watching import CHATS_MAX as WATCHED_MAX
from cecochat.domain.signals.watching import Watching, watched_in
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ServerFrame, Signal
from cecochat.v1.signals_pb2 import Interest, Signals, UserTypes

ALICE, BOB, CAROL = UserId("alice"), UserId("bob"), UserId("carol")
HOME, AWAY = 0, 1  # the partitions of Alice and of all others
CHAT = dialog(ALICE, BOB)
TEAM = ChatId("g:team")

_numbers = itertools.count()


def session(user_id: UserId, queue_max_bytes: int = 1 << 20, *, invisible: bool = False) -> Session:
    made = Session(
        f"s-{next(_numbers)}", user_id, queue_max_bytes=queue_max_bytes, wake=lambda: None
    )
    made.invisible = invisible
    return made


def told(session: Session) -> list[Signal]:
    """What a session was told since the last look."""
    items = ServerFrame.FromString(b"".join(session.take(1 << 20))).items
    return [item.signal for item in items if item.HasField("signal")]


class World:
    """Alice watches from one partition, and the others live on another, whose owner can change."""

    def __init__(self) -> None:
        self.now_s = 1_000.0
        self.outbox = Outbox()
        self.epoch = 0
        self.members = {ALICE}  # of all groups
        self.watching = Watching(
            HOME,
            0,
            lambda user: HOME if user == ALICE else AWAY,
            lambda _, user: user in self.members,
            self.outbox,
        )
        self.presence = Presence(AWAY, self.epoch, self.outbox, self.now_s)
        self.kept: list[tuple[float, Signals]] = []  # to AWAY, for its next owner
        self.alice = session(ALICE)
        self.seen: dict[str, tuple[bool, int]] = {}  # what Alice's screen shows
        self.sessions: dict[UserId, list[Session]] = {BOB: [], CAROL: []}

    def flush(self, *, lose: bool = False) -> None:
        """Carry what waits to where it goes, until nothing waits; or lose it."""
        while self.outbox:
            for to, value in self.outbox.take():
                if not lose:
                    self._arrive(to, Signals.FromString(value))

    def _arrive(self, to: int, said: Signals) -> None:
        if to == AWAY:
            self.kept.append((self.now_s, said))
            for interest in said.interests:
                self.presence.interested(interest, self.now_s)
        else:
            for seen in said.seen:
                self.watching.seen(seen, int(self.now_s * 1_000))

    def watch(self, *peers: UserId) -> None:
        self.watching.watch(self.alice, {dialog(ALICE, peer): peer for peer in peers})

    def begin(self, user: UserId, *, invisible: bool = False) -> None:
        self.sessions[user].append(session(user, invisible=invisible))
        self.presence.begin(self.sessions[user][-1])

    def end(self, user: UserId) -> None:
        if self.sessions[user]:
            self.presence.end(self.sessions[user].pop(0), self.now_s, int(self.now_s * 1_000))

    def pass_time(self, seconds: float) -> None:
        self.now_s += seconds
        self.presence.pass_time(self.now_s)

    def take_over(self) -> None:
        """The owner dies, and the next one hears what was kept. Half of the sessions come back."""
        self.epoch += 1
        self.presence = Presence(AWAY, self.epoch, self.outbox, self.now_s)
        for user in self.sessions:
            del self.sessions[user][::2]
            for each in self.sessions[user]:
                self.presence.begin(each)
        for said_s, said in self.kept:
            for interest in said.interests:
                self.presence.interested(interest, said_s)

    def look(self) -> None:
        for signal in told(self.alice):
            self.seen[signal.user_id] = signal.presence.online, signal.presence.last_seen_ms

    def settle(self) -> None:
        """Nothing happens and nothing is lost for a while."""
        self.pass_time(max(SETTLE_S, GRACE_S) + 1)
        self.watching.renew()
        self.flush()
        self.look()

    def is_shown(self, user: UserId) -> bool:
        """Whether others may see that a user is online."""
        sessions = self.sessions[user]
        return bool(sessions) and not any(each.invisible for each in sessions)


STEPS = ("begin", "hide", "end", "watch both", "watch one", "flush", "lose", "wait", "take over")


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from([BOB, CAROL])), max_size=40))
def test_whatever_was_lost_a_renewal_puts_right(steps: list[tuple[str, UserId]]) -> None:
    world = World()
    for step, user in steps:
        if step in ("begin", "hide"):
            world.begin(user, invisible=step == "hide")
        elif step == "end":
            world.end(user)
        elif step == "watch both":
            world.watch(BOB, CAROL)
        elif step == "watch one":
            world.watch(user)
        elif step in ("flush", "lose"):
            world.flush(lose=step == "lose")
        elif step == "wait":
            world.pass_time(GRACE_S + 0.5)
        else:
            world.take_over()
        world.look()
    world.watch(BOB, CAROL)
    world.settle()
    for user in (BOB, CAROL):
        online, last_seen_ms = world.seen[user]
        assert online == world.is_shown(user)
        assert not (online and last_seen_ms)


def test_nothing_is_told_of_users_whom_nobody_watches() -> None:
    world = World()
    world.settle()
    world.begin(BOB)
    world.end(BOB)
    world.pass_time(GRACE_S + 1)
    assert not world.outbox


def test_interest_that_is_not_renewed_expires() -> None:
    world = World()
    world.watch(BOB)
    world.settle()
    world.now_s += LEASE_S + 1
    world.presence.expire(world.now_s)
    world.begin(BOB)
    assert not world.outbox


def test_interest_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cecochat.domain.signals.presence.INTERESTS_MAX", 2)
    world = World()
    world.settle()
    asked = Interest(partition=HOME, asked_ids=[f"user{n}" for n in range(5)])
    world.presence.interested(asked, world.now_s)
    assert len(list(world.outbox.take())) == 1
    world.presence.interested(Interest(partition=HOME, ended_ids=["user0"]), world.now_s)
    world.presence.interested(Interest(partition=HOME, asked_ids=["user4"]), world.now_s)
    ((_, value),) = world.outbox.take()
    assert [user.user_id for user in Signals.FromString(value).seen[0].users] == ["user4"]


def test_an_owner_that_was_outdone_is_not_believed() -> None:
    world = World()
    world.watch(BOB)
    world.begin(BOB)
    world.flush()
    world.look()
    outdone = world.presence
    world.take_over()
    world.begin(BOB)
    world.settle()
    outdone.end(outdone._sessions[BOB][0], world.now_s, 0)
    outdone.pass_time(world.now_s + GRACE_S + 1)
    world.flush()
    world.look()
    assert world.seen[BOB] == (True, 0)


def test_who_has_moved_is_still_told_whatever_the_server_before_says_late() -> None:
    presence, relay = Presence(AWAY, 0, outbox := Outbox(), 0.0), Relay()
    presence.pass_time(SETTLE_S + 1)
    group = watched_as(TEAM)
    for said in (
        Interest(partition=HOME, epoch=1, asked_ids=[BOB, group]),
        Interest(partition=HOME, epoch=2, asked_ids=[BOB, group]),
        Interest(partition=HOME, epoch=1, ended_ids=[BOB, group]),
    ):
        presence.interested(said, 10.0)
        relay.interested(said, 10.0)
    list(outbox.take())
    presence.begin(session(BOB))
    assert [to for to, _ in outbox.take()] == [HOME]
    assert relay.watching(TEAM, 10.0) == [HOME]


def test_whoever_is_not_back_after_a_takeover_was_last_seen_then() -> None:
    world = World()
    world.watch(BOB)
    world.begin(BOB)
    world.settle()
    world.take_over()
    world.flush()
    world.look()
    assert world.seen[BOB] == (True, 0), "it has not settled yet"
    world.settle()
    assert world.seen[BOB] == (False, int(world.now_s * 1_000))


def test_whoever_hides_was_never_seen() -> None:
    world = World()
    world.watch(BOB)
    world.begin(BOB)
    world.settle()
    world.sessions[BOB][0].invisible = True
    world.presence.begin(world.sessions[BOB][0])
    world.flush()
    world.look()
    assert world.seen[BOB] == (False, 0)
    world.end(BOB)
    world.settle()
    world.take_over()
    world.settle()
    assert world.seen[BOB] == (False, 0)


def test_a_signal_finds_no_room_where_a_message_would_lack_it() -> None:
    world = World()
    slow = session(ALICE, queue_max_bytes=1_000)
    world.watching.watch(slow, {CHAT: BOB})
    slow.push(b"x" * 600)
    world.watching.types(UserTypes(chat_id=CHAT, user_id=BOB, active=True))
    assert (slow.queued_bytes, world.watching.dropped) == (600, 1)
    assert slow.closed is None


def test_who_had_no_room_is_told_at_the_next_renewal() -> None:
    world = World()
    slow = session(ALICE, queue_max_bytes=1_000)
    world.watching.watch(slow, {CHAT: BOB})
    world.settle()
    told(slow)
    slow.push(b"x" * 600)
    world.begin(BOB)
    world.settle()
    assert slow.queued_bytes == 600, "nor is there room yet"
    slow.take(1 << 20)
    world.watching.renew()
    assert [each.presence.online for each in told(slow)] == [True]
    world.watching.renew()
    assert told(slow) == []


def test_who_ends_watches_nothing() -> None:
    world = World()
    world.watch(BOB)
    assert world.watching.watched == 1
    world.watching.end(world.alice)
    assert world.watching.watched == 0
    world.watching.types(UserTypes(chat_id=CHAT, user_id=BOB, active=True))
    assert told(world.alice) == []


@pytest.mark.parametrize(
    ("chat_ids", "code"),
    [
        (["d:bob~carol"], errors_pb2.ERROR_CODE_FORBIDDEN),
        (["d:alice~alice"], errors_pb2.ERROR_CODE_INVALID_ARGUMENT),
        (["bob"], errors_pb2.ERROR_CODE_INVALID_ARGUMENT),
        (["g:team"], errors_pb2.ERROR_CODE_NOT_FOUND),
        ([f"d:alice~b{n}" for n in range(WATCHED_MAX + 1)], errors_pb2.ERROR_CODE_TOO_LARGE),
    ],
)
def test_what_cannot_be_watched(chat_ids: list[str], code: errors_pb2.ErrorCode.ValueType) -> None:
    with pytest.raises(Refusal) as refused:
        watched_in(ALICE, chat_ids, lambda *_: False)
    assert refused.value.error_code == code


def test_a_chat_that_is_named_twice_is_watched_once() -> None:
    watched = watched_in(ALICE, [CHAT] * (WATCHED_MAX + 1), lambda *_: False)
    assert watched == {CHAT: BOB}


def test_who_has_left_a_group_is_told_nothing_of_it() -> None:
    world = World()
    world.watching.watch(world.alice, watched_in(ALICE, [TEAM], lambda *_: True))
    assert [to for to, _ in world.outbox.take()] == [AWAY], "the home hears of it"
    bob = UserTypes(chat_id=TEAM, user_id=BOB, active=True)
    world.watching.types(bob)
    assert [each.chat_id for each in told(world.alice)] == [TEAM]
    world.members.clear()
    world.watching.types(bob)
    assert told(world.alice) == []


def test_a_home_knows_who_watches_its_groups_for_as_long_as_they_say_so() -> None:
    relay, presence = Relay(), Presence(AWAY, 0, Outbox(), 0.0)
    interest = Interest(partition=HOME, asked_ids=[watched_as(TEAM), BOB])
    relay.interested(interest, 10.0)
    presence.interested(interest, 10.0)
    assert presence._watched.keys() == {BOB}
    assert relay.watching(TEAM, 10.0 + LEASE_S) == [HOME]
    assert relay.watching(TEAM, 11.0 + LEASE_S) == []
    relay.expire(11.0 + LEASE_S)
    relay.interested(Interest(partition=AWAY, offline_ids=[watched_as(TEAM)]), 20.0)
    assert relay.watching(TEAM, 20.0) == [AWAY]
    relay.interested(Interest(partition=AWAY, ended_ids=[watched_as(TEAM)]), 21.0)
    assert relay.watching(TEAM, 21.0) == []


def test_typing_is_told_every_three_seconds_and_its_end_once() -> None:
    said = Typing()
    times_s = [0.0, 1.0, EVERY_S, EVERY_S + 1, 2 * EVERY_S]
    assert [said.is_due(CHAT, True, at_s) for at_s in times_s] == [True, False, True, False, True]
    assert [said.is_due(CHAT, False, 7.0), said.is_due(CHAT, False, 7.0)] == [True, False]
    assert not Typing().is_due(CHAT, False, 0.0)


def test_whoever_stops_may_type_again_at_once_but_not_for_ever() -> None:
    said = Typing()
    begun = []
    for _ in range(10):
        begun.append(said.is_due(CHAT, True, 1.0))
        said.is_due(CHAT, False, 1.0)
    assert begun == [True] * BURST + [False] * (10 - BURST)


@given(
    st.lists(
        st.tuples(st.integers(0, 30), st.booleans(), st.floats(0, 2)), min_size=1, max_size=400
    )
)
def test_a_flood_of_typing_is_a_trickle(flood: list[tuple[int, bool, float]]) -> None:
    said, now_s, passed = Typing(), 0.0, list[float]()
    for chat, active, pause_s in flood:
        now_s += pause_s
        if said.is_due(ChatId(f"d:alice~b{chat}"), active, now_s):
            passed.append(now_s)
    for since_s in passed:
        within = sum(since_s <= at_s < since_s + EVERY_S for at_s in passed)
        assert within <= CHATS_MAX * (2 * BURST + 2)


def values(outbox: Outbox) -> Iterator[Signals]:
    return (Signals.FromString(value) for _, value in outbox.take())


def test_only_the_last_word_is_told() -> None:
    outbox = Outbox()
    outbox.types(AWAY, CHAT, ALICE, True)
    outbox.types(AWAY, CHAT, ALICE, False)
    outbox.interest(AWAY, HOME, 1, BOB, "asked")
    outbox.interest(AWAY, HOME, 1, BOB, "ended")
    (record,) = values(outbox)
    assert [each.active for each in record.typing] == [False]
    assert [list(each.ended_ids) for each in record.interests] == [["bob"]]
    assert not outbox


def test_what_waits_is_bounded_and_told_in_pieces() -> None:
    outbox = Outbox()
    for number in range(outboxes.WAITING_MAX + 7):
        outbox.interest(AWAY, HOME, 1, UserId(f"user{number}"), "asked")
    told = [user for record in values(outbox) for user in record.interests[0].asked_ids]
    assert outbox.dropped == 7
    assert told == [f"user{number}" for number in range(7, outboxes.WAITING_MAX + 7)]
    outbox.interest(AWAY, HOME, 1, BOB, "asked")
    for number in range(outboxes.RECORD_THINGS):
        outbox.types(AWAY, dialog(ALICE, UserId(f"b{number}")), ALICE, True)
    assert len(list(values(outbox))) == 2
