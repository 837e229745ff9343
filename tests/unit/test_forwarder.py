"""Copies go to each target in order, each names the one before it, none is left out however slow a
target is, what waits is bounded, and the watermark is never too high.
"""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from cecochat.domain.log.chain import Chain, Here, Link
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Copy, Origin
from cecochat.domain.ownership.forwarder import Forwarder, Lost
from cecochat.v1.events_pb2 import Event

PLACES = {name: n for n, name in enumerate("abcde")}
HERE = Here(9, PLACES.__getitem__)
RECIPIENTS = st.lists(st.sampled_from("abcde"), min_size=1, max_size=4, unique=True)


def place(offset: int) -> Place:
    """Two records a millisecond."""
    return NOWHERE if offset < 0 else Place(1_000 + offset // 2, offset)


def origin(offset: int, recipients: tuple[str, ...]) -> Origin:
    event = Event(id=offset + 1, user_id="s", recipient_ids=recipients)
    return Origin(
        offset + 1,
        Place(1_000, 0),
        0,
        UserId("s"),
        "",
        tuple(map(UserId, recipients)),
        event.SerializeToString(),
        event,
    )


class Forwarding(RuleBasedStateMachine):
    """Origins are read, batches taken and acknowledged, and what lanes forgot is read again, in any
    order; some targets answer rarely.
    """

    @initialize(
        done=st.integers(-1, 5),
        lane_max_bytes=st.sampled_from([0, 40, 10_000]),
        lanes_max_bytes=st.sampled_from([0, 100]),
    )
    def start(self, done: int, lane_max_bytes: int, lanes_max_bytes: int) -> None:
        self.limits = OwnerLimits(lane_max_bytes=lane_max_bytes, lanes_max_bytes=lanes_max_bytes)
        self.forwarder = Forwarder(3, done, self.limits)
        self.chain = Chain(HERE, {})
        self.chain_again = self.chain  # of what is read again
        self.log: dict[int, Origin] = {}
        self.end = 0
        self.skipped = done
        self.ready = False
        self.under_way: dict[int, list[int]] = {target: [] for target in PLACES.values()}
        self.copied: dict[int, list[int]] = {target: [] for target in PLACES.values()}
        self.stale = dict.fromkeys(PLACES.values(), 0)  # under way since before a rewinding
        self.recall: list[int] | None = None  # offsets still to be read again
        self.recall_end = 0

    def owed(self, target: int) -> list[int]:
        """Origin offsets that this target is to get in this session."""
        return [
            offset
            for offset, each in self.log.items()
            if offset > self.skipped and self.concerns(each, target)
        ]

    def concerns(self, each: Origin, target: int) -> bool:
        return any(PLACES[user] == target for user in each.recipient_ids)

    @rule(recipients=RECIPIENTS, step=st.integers(1, 3))
    def read(self, recipients: list[str], step: int) -> None:
        self.log[self.end] = made = origin(self.end, tuple(recipients))
        self.chain.add(place(self.end), made)
        self.forwarder.add(place(self.end), made, self.chain.links)
        self.end += step

    @rule()
    def read_to_the_end(self) -> None:
        self.forwarder.caught_up(self.end - 1)

    @precondition(lambda self: not self.ready)
    @rule(done=st.integers(0, 30))
    def skip(self, done: int) -> None:
        """What the owner before has forwarded meanwhile, at the takeover."""
        self.forwarder.skip(done)
        self.skipped = max(self.skipped, done)
        self.ready = True

    @precondition(lambda self: self.ready)
    @rule(limit=st.integers(1, 3))
    def take(self, limit: int) -> None:
        for target, copies in self.forwarder.take(limit):
            assert 0 < len(copies) <= limit
            assert not self.under_way[target], "one batch at a time"
            for copy in copies:
                self.check(target, copy)
                self.copied[target].append(copy.origin.offset)
                self.under_way[target].append(copy.origin.offset)

    def check(self, target: int, copy: Copy) -> None:
        offset = copy.origin.offset
        offsets = [at for at, each in self.log.items() if self.concerns(each, target)]
        before = ([-1, *offsets])[offsets.index(offset)]
        assert (copy.after, copy.origin) == (place(before), place(offset))
        users = [u for u in self.log[offset].recipient_ids if PLACES[u] == target]
        assert list(copy.recipient_ids) == users

    @rule(to=st.sampled_from([0, 1, 1, 2, 2, 2, 3, 3, 3, 3]), count=st.integers(1, 3))
    def acknowledge(self, to: int, count: int) -> None:
        """A producer session is a FIFO."""
        count = min(count, len(self.under_way[to]))
        del self.under_way[to][:count]
        self.stale[to] = max(0, self.stale[to] - count)
        if count:
            self.forwarder.acknowledged(to, count)

    @precondition(lambda self: self.ready)
    @rule(to=st.sampled_from(sorted(PLACES.values())), keeps=st.integers(0, 5))
    def rewind(self, to: int, keeps: int) -> None:
        """A target lacks what it was brought, but for the first few."""
        if keeps < len(self.copied[to]):
            del self.copied[to][keeps:]
            self.stale[to] = len(self.under_way[to])
            self.forwarder.rewind(to, (self.copied[to] or [self.skipped])[-1])

    @precondition(lambda self: self.ready and self.recall is None)
    @rule()
    def begin_recall(self) -> None:
        start = self.forwarder.begin_recall()
        if start is not None:
            self.recall = [offset for offset in self.log if offset >= start]
            self.chain_again = Chain(HERE, {})
            for offset in sorted(self.log.keys() - set(self.recall)):
                self.chain_again.add(place(offset), self.log[offset])
            self.recall_end = self.end

    @precondition(lambda self: self.recall is not None)
    @rule(count=st.integers(1, 5))
    def read_again(self, count: int) -> None:
        assert self.recall is not None
        for offset in self.recall[:count]:
            self.chain_again.add(place(offset), self.log[offset])
            self.forwarder.recall(place(offset), self.log[offset], self.chain_again.links)
            following = offset + 1
        del self.recall[:count]
        if not self.recall:
            self.forwarder.recalled(self.recall_end - 1)
            self.recall = None
        elif not self.forwarder.recalls(following):
            self.recall = None

    @invariant()
    def no_target_lacks_one_in_between(self) -> None:
        for target, copied in getattr(self, "copied", {}).items():
            assert copied == self.owed(target)[: len(copied)]

    @invariant()
    def the_watermark_is_not_too_high(self) -> None:
        for target, copied in getattr(self, "copied", {}).items():
            acknowledged = len(copied) - len(self.under_way[target]) + self.stale[target]
            assert all(self.forwarder.done < at for at in self.owed(target)[acknowledged:])

    @invariant()
    def what_waits_is_bounded(self) -> None:
        if not hasattr(self, "forwarder"):
            return
        lanes, shared = self.forwarder._lanes.values(), self.limits.lanes_max_bytes
        for lane in lanes:
            assert lane._waiting_bytes == sum(len(w.origin.event) for w in lane._waiting)
            assert lane._waiting_bytes < max(self.limits.lane_max_bytes, shared) + 40
        held = self.forwarder._held.bytes
        assert held == sum(lane._waiting_bytes for lane in lanes)
        assert held < shared + len(lanes) * (self.limits.lane_max_bytes + 40) + 40

    @override
    def teardown(self) -> None:
        """All answer: every target gets all, and the watermark is at the end."""
        if not hasattr(self, "forwarder"):
            return
        self.ready = True
        self.forwarder.caught_up(self.end - 1)
        for _ in range(10 * len(self.log) + 10):
            for target in self.under_way:
                self.acknowledge(target, 1_000)
            if self.recall is None:
                self.begin_recall()
            if self.recall is not None:
                self.read_again(1_000)
            self.take(1_000)
        for target, copied in self.copied.items():
            assert copied == self.owed(target)
        assert not self.forwarder.owes
        assert self.forwarder.done == max(self.skipped, self.end - 1)


TestForwarding: Any = Forwarding.TestCase
TestForwarding.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_what_is_to_be_brought_again_lies_above_the_watermark() -> None:
    """Also while a copy of something later is under way."""
    forwarder = Forwarder(3, -1, OwnerLimits())
    for offset in range(2):
        before = place(offset - 1)
        forwarder.add(place(offset), origin(offset, ("a",)), {0: Link([UserId("a")], before)})
    forwarder.take(2)
    forwarder.acknowledged(0)
    assert forwarder.done == 0
    forwarder.rewind(0, -1)
    assert forwarder.done == -1


def test_a_reading_does_not_go_on_for_lanes_that_are_hardly_behind() -> None:
    """From where the one far behind is full, it would read all that lies between for nothing."""
    forwarder = Forwarder(3, -1, OwnerLimits(lane_max_bytes=0, lanes_max_bytes=0))
    to_a, to_b = {0: Link([UserId("a")], NOWHERE)}, {1: Link([UserId("b")], NOWHERE)}
    for offset, recipient in enumerate("aaabbb"):
        links = to_a if recipient == "a" else to_b
        forwarder.add(place(offset), origin(offset, (recipient,)), links)
    forwarder.take(1)  # one to each target; behind from 1 on, and from 4 on
    assert forwarder.begin_recall() == 1
    forwarder.recall(place(1), origin(1, ("a",)), to_a)
    assert forwarder.recalls(2)
    forwarder.recall(place(2), origin(2, ("a",)), to_a)
    assert not forwarder.recalls(3)
    assert forwarder.begin_recall() == 4


def test_what_the_log_has_dropped_is_left_out_and_told() -> None:
    """The next copy names the one before that, so that its target goes on."""
    forwarder = Forwarder(3, -1, OwnerLimits())
    for offset in range(6):
        forwarder.add(
            place(offset), origin(offset, ("a",)), {0: Link([UserId("a")], place(offset - 1))}
        )
    forwarder.take(10)
    forwarder.acknowledged(0, 6)
    forwarder.rewind(0, 1)
    assert forwarder.done == 1
    assert forwarder.begin_recall() == 2
    assert forwarder.leave_out(3, {0: Copied(place(3), 1)}) == [Lost(0, 2, 3)]
    for offset in (4, 5):
        links = {0: Link([UserId("a")], place(offset - 1))}
        forwarder.recall(place(offset), origin(offset, ("a",)), links)
    forwarder.recalled(5)
    ((_, copies),) = forwarder.take(10)
    assert [(copy.origin, copy.after) for copy in copies] == [
        (place(4), Place(0, 1)),
        (place(5), place(4)),
    ]


def test_what_was_dropped_and_is_of_no_concern_is_not_lost() -> None:
    forwarder = Forwarder(3, -1, OwnerLimits())
    forwarder.rewind(0, 1)
    forwarder.begin_recall()
    assert forwarder.leave_out(3, {0: Copied(place(1), 1), 1: Copied(place(3), 1)}) == []


def test_where_nobody_knows_what_was_dropped_it_counts_as_lost() -> None:
    forwarder = Forwarder(3, -1, OwnerLimits())
    forwarder.rewind(0, 1)
    forwarder.begin_recall()
    assert forwarder.leave_out(3, None) == [Lost(0, 2, 3)]


def test_a_lane_that_is_busy_reads_nothing_again_while_there_is_room() -> None:
    size = len(origin(0, ("a",)).event)
    forwarder = Forwarder(3, -1, OwnerLimits(lane_max_bytes=size, lanes_max_bytes=10 * size))
    to_a, to_b = {0: Link([UserId("a")], NOWHERE)}, {1: Link([UserId("b")], NOWHERE)}
    behind = []
    for offset in range(11):
        forwarder.add(place(offset), origin(offset, ("a",)), to_a)
        behind.append(forwarder.is_behind)
    assert behind == [False] * 10 + [True]
    forwarder.add(place(11), origin(11, ("b",)), to_b)
    assert [target for target, _ in forwarder.take(1)] == [0, 1], "a busy lane took it all"
