"""An owner and its sessions against a small model, in any order of connects, sends, repeats,
refusals, slow queues, takes, reads and expiry.

The model knows the log, what each client was told, and what the protocol promises: each record that
concerns a user once and in order, one message for one client message id, bounded queues.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from typing_extensions import override

from cecochat.domain.errors import Refusal
from cecochat.domain.log.chain import Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.limits import OwnerLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session.session import Replay, Session, concerns
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import Send, ServerFrame, ServerItem

QUEUE_MAX_BYTES = 700
FRAME_BYTES = 150
USERS = ("alice", "bob")
BEGAN_MS = 1_700_000_000_000
REFUSED = Refusal(errors_pb2.ERROR_CODE_TOO_LARGE, "no")


def elsewhere(offset: int) -> Place:
    """A place in the log of the partition that is forwarded from."""
    return NOWHERE if offset < 0 else Place(BEGAN_MS + offset, offset)


@dataclass
class Client:
    """A device over its sessions: what it was told, which sends it waits for."""

    user_id: str
    session: Session | None = None
    from_offset: int = -1  # everything above concerns it
    position: int = -1
    told: list[int] = field(default_factory=list)  # offsets of what it was shown or acked, in order
    clocks: dict[int, int] = field(default_factory=dict)  # of the log, at offsets it was told of
    acked: dict[str, int] = field(default_factory=dict)  # client message id -> message id
    unanswered: dict[str, Send] = field(default_factory=dict)
    caught_up: bool = False

    def take(self, limit_bytes: int) -> bool:
        """Read one frame; False: nothing was queued."""
        assert self.session
        frame = self.session.take(limit_bytes)
        for item in ServerFrame.FromString(b"".join(frame)).items:
            self._item(item)
        return bool(frame)

    def _item(self, item: ServerItem) -> None:
        match item.WhichOneof("item"):
            case "delivered":
                self._clock(item.delivered.offset, item.delivered.clock_ms)
                self._told(item.delivered.offset)
                event = item.delivered.event
                if event.user_id == self.user_id:
                    self._accepted(event.client_message_id, event.id)
            case "ack":
                self._clock(item.ack.offset, item.ack.clock_ms)
                if item.ack.offset > self.position:
                    self._told(item.ack.offset)
                self._accepted(item.ack.client_message_id, item.ack.message_id)
            case "caught_up":
                self._clock(item.caught_up.offset, item.caught_up.clock_ms)
                assert item.caught_up.offset >= self.position or self.caught_up
                self.position = max(self.position, item.caught_up.offset)
                self.caught_up = True
            case "refused":
                self.unanswered.pop(item.refused.client_message_id, None)
            case "disconnect":
                self.session = None

    def _clock(self, offset: int, clock_ms: int) -> None:
        assert self.clocks.setdefault(offset, clock_ms) == clock_ms

    def _told(self, offset: int) -> None:
        assert offset > self.position, "told twice, or in the wrong order"
        self.position = offset
        self.told.append(offset)

    def _accepted(self, client_message_id: str, message_id: int) -> None:
        assert self.acked.setdefault(client_message_id, message_id) == message_id
        self.unanswered.pop(client_message_id, None)


class Partition(RuleBasedStateMachine):
    """One partition, two users, two devices each."""

    @initialize(tail=st.sampled_from([0, 120, 10_000]), entries=st.integers(0, 4))
    def start(self, tail: int, entries: int) -> None:
        self.now_ms = BEGAN_MS
        self.limits = OwnerLimits(
            resend_window_ms=5_000, resend_entries_max=entries, tail_max_bytes=tail, state_every=7
        )
        self.owner = Owner(
            0, "session", Fold(Here(0, lambda _: 0)), cursor=0, forwarded=-1, limits=self.limits
        )
        self.log: list[tuple[LogRecord, int]] = []  # and when each was appended
        self.append(self.owner.takeover("server", 1, self.now_ms))
        self.valid: dict[int, Origin | Copy] = {}
        self.model = Fold()
        self.clocks: list[int] = []  # of the log, at each offset that was read
        self.clients = [Client(user) for user in USERS for _ in range(2)]
        self.sends = 0
        self.foreign = 0
        self.sent: dict[tuple[str, str], int] = {}
        self.read(1)
        for number in range(len(self.clients)):
            self.connect(number, live=False, eager=True)

    # -- the log

    def append(self, record: LogRecord) -> None:
        self.log.append((record, self.now_ms))

    @rule(count=st.integers(1, 4))
    def read(self, count: int) -> None:
        """The owner reads what was appended."""
        for _ in range(count):
            offset = self.owner.cursor
            if offset == len(self.log):
                return
            record, appended_at_ms = self.log[offset]
            self.clocks.append(max([appended_at_ms, *self.clocks[-1:]]))
            counts = self.model.step(offset, record, appended_at_ms)
            if counts and isinstance(record, Origin | Copy):
                self.valid[offset] = record
                if isinstance(record, Origin):
                    key = (record.user_id, record.client_message_id)
                    assert key not in self.sent, "one send became two messages"
                    self.sent[key] = record.id
                    for before in self.valid.values():
                        if isinstance(before, Origin) and before is not record:
                            assert before.id < record.id
            assert self.owner.read(offset, record, appended_at_ms, self.now_ms) == counts
            self.owner.forwarder.take(10)
            if self.owner.state_due(self.now_ms):
                for state in self.owner.states(self.now_ms):
                    self.append(state)

    @rule(user=st.sampled_from(USERS), skipped=st.booleans(), again=st.booleans())
    def copy(self, user: str, skipped: bool, again: bool) -> None:
        """An owner elsewhere forwards: sometimes twice, sometimes with one missing before it."""
        after = self.foreign + 1 if skipped else self.foreign - 1
        if not again and not skipped:
            self.foreign += 1
            after = self.foreign - 1
        event = Event(id=self.owner.fold.top + 1 << 12, user_id="carol", recipient_ids=[user])
        event.message.text = "x" * 20
        at = elsewhere(self.foreign + 2 if skipped else self.foreign)
        value = event.SerializeToString()
        self.append(Copy(event.id, 1, at, elsewhere(after), (UserId(user),), value))

    # -- clients

    @rule(number=st.integers(0, 3), live=st.booleans(), eager=st.booleans())
    def connect(self, number: int, live: bool, eager: bool) -> None:
        client, owner = self.clients[number], self.owner
        if client.session:
            owner.detach(client.session)
        session = Session(
            "s", UserId(client.user_id), queue_max_bytes=QUEUE_MAX_BYTES, wake=lambda: None
        )
        if live and not client.told and not client.unanswered:
            client.from_offset = client.position = owner.cursor - 1
        session.position = client.position
        client.session, client.caught_up = session, False
        while not (owner.can_attach(session) and owner.attach(session)):
            if owner.can_attach(session):
                client.take(FRAME_BYTES)
                continue
            fold = Fold()
            for offset in range(session.position + 1):
                fold.step(offset, *self.log[offset])
            replay = Replay(session, fold)
            for offset in range(session.position + 1, owner.tail.floor.offset + 1):
                replay.feed(offset, *self.log[offset])
                while not session.has_room:
                    client.take(FRAME_BYTES)
        while eager and client.session and client.take(10_000):
            pass

    @rule(number=st.integers(0, 3), limit=st.sampled_from([1, FRAME_BYTES, 10_000]))
    def take(self, number: int, limit: int) -> None:
        if self.clients[number].session:
            self.clients[number].take(limit)

    @rule(number=st.integers(0, 3))
    def leave(self, number: int) -> None:
        client = self.clients[number]
        if client.session:
            self.owner.detach(client.session)
            client.session = None

    @rule(number=st.integers(0, 3), size=st.integers(1, 60), times=st.integers(1, 2))
    def send(self, number: int, size: int, times: int) -> None:
        """A new one; written, like those that wait for an answer, where the session is open."""
        client = self.clients[number]
        made = Send(client_message_id=f"{number}-{self.sends}", chat_id="d:alice~bob")
        made.message.text = "x" * size
        self.sends += 1
        client.unanswered[made.client_message_id] = made
        for _ in range(times):
            self.write(number)

    @rule(number=st.integers(0, 3), size=st.integers(1, 60))
    def lose_an_answer(self, number: int, size: int) -> None:
        """Accepted and read, and the stream breaks before the client is told."""
        self.send(number, size, 1)
        self.read(10)
        self.connect(number, live=False, eager=False)

    @rule(number=st.integers(0, 3), size=st.integers(1, 60))
    def read_the_answer_late(self, number: int, size: int) -> None:
        """Accepted, read and forgotten again before the client has read its answer."""
        self.send(number, size, 1)
        self.read(10)
        for _ in range(3):
            self.expire(4_000)
        self.write(number)
        self.read(10)

    @rule(number=st.integers(0, 3))
    def write(self, number: int) -> None:
        """Everything that is unanswered, again: over one session or many."""
        client = self.clients[number]
        if not (client.session and client.caught_up):
            return
        for made in list(client.unanswered.values()):
            if self.owner.settle(client.session, made, client.position):
                continue
            assert not client.session.closed
            assert not client.session.blocked
            assert client.position >= self.owner.sent.floor.offset
            others = tuple(user for user in USERS if user != client.user_id)
            recipients = tuple(map(UserId, others))
            self.append(self.owner.accept(client.session.user_id, made, recipients, self.now_ms))
            self.owner.wait(client.session, made.client_message_id)

    @precondition(lambda self: any(client.session for client in self.clients))
    @rule(number=st.integers(0, 3))
    def refuse(self, number: int) -> None:
        client = self.clients[number]
        if client.session and client.caught_up:
            before = len(self.log)
            client.session.refuse("refused", REFUSED)
            self.write(number)
            assert len(self.log) == before, "a send overtook the answer to a refusal"

    @rule(ms=st.integers(0, 4_000))
    def expire(self, ms: int) -> None:
        self.now_ms += ms - 500  # clocks turn back, too
        self.owner.expire(self.now_ms)

    # -- what holds always

    @invariant()
    def queues_are_bounded(self) -> None:
        for client in self.clients:
            if client.session:
                assert client.session.queued_bytes <= QUEUE_MAX_BYTES

    @invariant()
    def nobody_missed_anything(self) -> None:
        for client in self.clients:
            expected = [offset for offset in self.told_of(client) if offset <= client.position]
            assert client.told == expected

    @invariant()
    def what_is_told_carries_the_clock_of_the_log(self) -> None:
        for client in self.clients:
            for offset, clock_ms in client.clocks.items():
                assert clock_ms == self.clocks[offset]

    @invariant()
    def the_tail_knows_no_later_clock_than_the_log(self) -> None:
        """It knows that of the last valid record, which is that of the log or an earlier one."""
        tail, valid = self.owner.tail, list(self.valid)
        assert tail.floor.clock_ms == (
            self.clocks[tail.floor.offset] if tail.floor.offset >= 0 else 0
        )
        for offset in range(-1, self.owner.cursor):
            known = tail.clock_at(offset)
            last = max([tail.floor.offset, *(each for each in valid if each <= offset)])
            assert (known is None) == (offset < tail.floor.offset or last < 0)
            if known is not None:
                assert known == self.clocks[last]

    @invariant()
    def what_is_acknowledged_is_in_the_log(self) -> None:
        for client in self.clients:
            for client_message_id, message_id in client.acked.items():
                assert self.sent[client.user_id, client_message_id] == message_id

    def told_of(self, client: Client) -> list[int]:
        """What concerns it of all that is in the log."""
        return [
            offset
            for offset, record in self.valid.items()
            if offset > client.from_offset and concerns(record, UserId(client.user_id))
        ]

    @override
    def teardown(self) -> None:
        """Everybody reads to the end and sends what is left: all is answered, none missing."""
        if not hasattr(self, "owner"):
            return
        self.read(10_000)
        for number, client in enumerate(self.clients):
            for _ in range(10_000):
                if client.session is None:
                    self.connect(number, live=False, eager=True)
                while client.session and client.take(10_000):
                    pass
                if not client.session:
                    continue
                if not client.unanswered:
                    break
                if client.session.blocked:
                    self.leave(number)
                    continue
                self.write(number)
                self.read(10_000)
            assert not client.unanswered
            if client.session and not client.session.closed:
                assert max([client.position, *self.told_of(client)]) == client.position
        self.nobody_missed_anything()
        for client in self.clients:
            for client_message_id in client.acked:
                assert (client.user_id, client_message_id) in self.sent


TestPartition = Partition.TestCase
TestPartition.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
