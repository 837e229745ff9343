"""The thinnest shell round the project's own `Owner`: what the asyncio shell does, one step a call.

Nothing here decides anything about the protocol.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

from cecochat.domain.cluster.versions import Claim
from cecochat.domain.errors import Refusal, Trimmed, Undecodable
from cecochat.domain.log.chain import Here
from cecochat.domain.log.ids import PARTITIONS_MAX, UserId, message_id, stamp_at
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS, SendLimits
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import NOTHING, Copy, LogRecord, Origin
from cecochat.domain.log.scope import is_of_group
from cecochat.domain.ownership.calls import Called, Calls
from cecochat.domain.ownership.forwarder import Lost
from cecochat.domain.ownership.home import Home
from cecochat.domain.session.intake import check_send
from cecochat.domain.session.session import Session
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, Send
from tests.sim import beginning
from tests.sim.connection import Connection
from tests.sim.joining import FAILED, TRIMMED, Joining
from tests.sim.judging import JUDGED
from tests.sim.loading import load, uncopied
from tests.sim.recall import Recall

if TYPE_CHECKING:
    from tests.sim.world import World

MOVED = Refusal(errors_pb2.ERROR_CODE_MOVED, "moved")
LIMITED = Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, "the limits are such")
MEMBERS_MAX = 100
TEXT_MAX_BYTES = 100


class Server(Joining):
    """One node's ownership of one partition, from a new producer session on. It reads ahead until
    it claims the partition by its takeover record.
    """

    def __init__(self, world: World, node: int, partition: int) -> None:
        super().__init__(world, node, partition)
        self.version = world.memories[node].document.version
        self.claimed = False
        self.recall: Recall | None = None
        self.producer = world.new_producer(self)
        self.here = Here(partition, self.place)
        self.lost_end = NOWHERE  # noted of an end that the log lost
        self.begins = 0  # below that, its owner forwards nothing
        self.owner = load(self)
        self.home = Home(self.owner, SendLimits(members_max=MEMBERS_MAX), self.check_in_group)
        self.calls = Calls(self.owner, self.accept_call)
        if node in world.old_versions:
            vars(self.owner)["can_serve_home"] = lambda: False
        self.let_go = 0  # what it has released last
        self.begun = 0  # a beginning of the log that a state record was for
        self.last = self.log.last(self.owner.cursor - 1)  # record that it has read

    def claim(self) -> bool:
        """Append the takeover, owing no more than the owner before has left."""
        if self.claimed:
            return False
        noted = self.forwarded()
        done = -1 if noted is None else noted
        if max(self.log.first_known(), done) < self.owner.forwarder.skipped:
            self.stop(FAILED)
            self.world.start_server(self.node, self.partition)
            return True
        self.claimed = True
        self.owner.forwarder.skip(done)
        owner, lacks = self.owner, uncopied(self)
        told = (lacks, self.lost_end)
        takeover = owner.takeover(f"n{self.node}", self.version, self.now_ms(), *told)
        self.append(self.partition, takeover)
        return True

    def learn_members(self) -> None:
        """Ask the homes of groups who belongs, where this log has lost that."""
        fold = self.owner.fold
        assert fold.groups
        for chat in list(fold.groups.wrong):
            home = self.here.home_of(chat)
            last = fold.high.get(home, NOTHING)
            other = self.world.known_fold_at(home, last.origin.offset)
            truth = other.groups if other and home != self.partition else None
            if truth and chat not in truth.wrong:
                fold.groups.correct(truth, chat, last.id)
                self.owner.hidden.note(self.owner.cursor - 1)
                self.owner.state_soon()

    def forwarded(self) -> int | None:
        """Up to where the targets have all; None: that was noted of an end that the log lost."""
        noted = self.world.watermark[self.partition]
        if self.log.holds(noted):
            return noted.offset
        self.sees_loss(noted)
        return None

    def sees_loss(self, noted: Place) -> None:
        """The log has lost the end in which that is."""
        self.lost_end = max(self.lost_end, noted)

    def place(self, user: str) -> int:
        """The partition of a user, as this node reckons."""
        return self.world.place_by(self.node, user)

    # -- appends

    def append(self, target: int, record: LogRecord) -> None:
        """Hand a record to the producer session."""
        self.producer.requests.setdefault(target, deque()).append(record)

    def append_states(self) -> None:
        """Say what is known."""
        for state in self.owner.states(self.now_ms()):
            self.append(self.partition, state)

    def appended(self, target: int, record: LogRecord, offset: int) -> None:
        """The answer to an append to that partition: it is durable at `offset`."""
        if isinstance(record, Copy):
            self.owner.forwarder.acknowledged(target)

    def append_failed(self, target: int, record: LogRecord) -> None:
        """The record is in the log or not; nobody knows. The session and its epoch end."""
        self.stop(FAILED)
        self.world.start_server(self.node, self.partition)

    # -- the log

    def read(self) -> None:
        """Feed the next record to the owner, and do what follows from it."""
        owner = self.owner
        if self.is_lost:
            self.stop(FAILED)
            self.world.start_server(self.node, self.partition)
            return
        if owner.cursor < self.log.start:
            self.stop(TRIMMED)
            self.world.start_server(self.node, self.partition)
            return
        offset = self.log.at_or_after(owner.cursor)
        record, appended_at_ms = self.log.records[offset], self.log.appended_at_ms[offset]
        self.last = record
        if isinstance(record, Undecodable):
            owner.skip(offset, record, appended_at_ms)
        else:
            owner.read(offset, record, appended_at_ms, self.now_ms())
        if owner.must_end:
            self.stop(FAILED)
            self.world.start_server(self.node, self.partition)
        elif isinstance(record, Undecodable):
            return
        elif later := owner.superseded:
            claim = Claim(later.assignment_version, later.server_id)
            self.world.took_over(self.node, self.partition, claim)
            self.stop(MOVED)
        elif owner.epoch and owner.lacks_members:
            self.learn_members()
        elif owner.ready and owner.state_due(self.now_ms()):
            self.append_states()

    @property
    @override
    def is_lost(self) -> bool:
        """Whether the log does not hold any more what this has read of it, or what it waits for."""
        return self.log.differs(self.owner.cursor, self.last) or self.waits_in_vain

    @property
    def waits_in_vain(self) -> bool:
        """Whether what it has appended is not there to be read."""
        waits = self.claimed and (not self.owner.ready or self.owner.pending)
        under_way = self.producer.requests.get(self.partition)
        return bool(waits) and not under_way and self.owner.cursor == self.log.end

    def forward(self, limit: int) -> bool:
        """Append the next copies for each target."""
        if not self.owner.ready:
            return False
        batches = self.owner.forwarder.take(limit)
        for target, copies in batches:
            for copy in copies:
                self.append(target, copy)
        return bool(batches)

    def read_again(self, records_max: int) -> bool:
        """Read up to so many records again, for lanes that are behind."""
        if not self.owner.ready or not (self.recall or self._begin_recall()):
            return False
        assert self.recall is not None
        if self.is_lost:
            return False  # its own reading will say so
        if self.recall.read(self.log, self.owner.forwarder, records_max):
            self.recall = None
        return True

    def _begin_recall(self) -> bool:
        start = None if self.is_lost else self.owner.forwarder.begin_recall()
        if start is None:
            return False
        try:
            fold = self.world.fold_at(self.partition, start - 1, self.place)
        except Trimmed:
            lowest = beginning.lowest_fold(self.log, self.here)
            self.tell(self.owner.forwarder.leave_out(lowest.begins - 1, lowest.last))
            start, fold = lowest.position + 1, lowest.fold
        wanted = self.owner.forwarder.recalls_from or start
        self.recall = Recall(fold, start, self.owner.cursor, wanted)
        return True

    def tell(self, lost: list[Lost]) -> None:
        """What can be brought to nobody any more is told to people."""
        for each in lost:
            for record in self.log.records[each.start : each.end + 1]:
                if isinstance(record, Origin):
                    self.world.told.add((record.id, each.target))

    # -- copies that are missing

    def keep_house(self) -> None:
        """What an owner does once a second."""
        self.owner.expire(self.now_ms())
        if self.owner.state_due(self.now_ms()):
            self.append_states()
        incoming, now_ms = self.owner.incoming, self.world.now_ms
        if incoming.unread >= 0:
            looked = [self.compare(origin) for origin in range(len(self.world.logs))]
            if all(looked):
                incoming.compared(incoming.unread)
        for origin in incoming.due(now_ms):
            held = self.world.logs[origin].holds(self.owner.fold.high_of(origin))
            if self.compare(origin) and (missing := incoming.ask(origin, now_ms, held=held)):
                self.append(origin, missing)

    def compare(self, origin: int) -> bool:
        """Look up what another partition has for this one; whether its log tells that."""
        last = beginning.last_for(self.world, origin, self.partition)
        if last is not None:
            self.owner.incoming.compare(origin, last)
        return last is not None

    def look_at_beginning(self) -> bool:
        """Where the log begins above what this owner has released, readers may wait for a state
        record.
        """
        owner, start = self.owner, self.log.start
        if start <= self.let_go or start == self.begun:
            return False
        owner.state_soon()
        self.begun = start
        self.append_states()  # its house is kept at once
        return True

    def commit(self) -> bool:
        """Say how far all targets are; not fenced, and it may arrive late or never."""
        if not self.owner.ready:
            return False
        forwarder = self.owner.forwarder
        forwarder.caught_up(self.owner.cursor - 1)
        place = Place(self.owner.fold.clock_ms, forwarder.done)
        self.world.commits.append((self.partition, place))
        return True

    # -- sends

    def receive(self, connection: Connection, frame: ClientFrame) -> None:
        """A batch of sends."""
        session = connection.session
        assert session is not None
        for send in frame.sends:
            if not self.owner.settle(session, send, frame.offset):
                self.take(connection, session, send)

    def take(self, connection: Connection, session: Session, send: Send) -> None:
        """A send that is no repeat."""
        verdict = JUDGED if self.world.judges[self.node] else None
        if is_of_group(send) and not self.here.has(send.chat_id):
            return self.owner.asking.take(session, send, self.world.now_ms, verdict)
        try:
            if verdict:
                raise verdict
            origin = self.accept(session.user_id, send)
        except Refusal as refusal:
            if refusal.retriable:
                session.close(refusal)
            else:
                self.refuse(connection, session, send, refusal)
        else:
            self.owner.wait(session, send.client_message_id)
            self.append(self.partition, origin)

    def accept_call(self, called: Called) -> Origin:
        """The record of a send of the back end. Raises `Refusal`."""
        return self.accept(called.user_id, called.send, as_system=called.as_system)

    def accept(self, user: UserId, send: Send, *, as_system: bool = False) -> Origin:
        """The record of a send. Raises `Refusal`."""
        if is_of_group(send):
            return self.home.accept(user, send, self.now_ms(), as_system=as_system)
        recipients = self.check(user, send, self.partition)
        return self.owner.accept(user, send, recipients, self.now_ms())

    def id_max(self) -> int:
        """An id above all that messages have."""
        fold = self.owner.fold
        ahead = stamp_at(max(self.now_ms(), fold.clock_ms) + CLOCKS_APART_MAX_MS)
        return message_id(max(fold.top, ahead), PARTITIONS_MAX - 1)

    def check(self, user: UserId, send: Send, partition: int | None) -> tuple[UserId, ...]:
        """Raise `Refusal` for what no group or dialog takes, and for what this node refuses for all
        alike.
        """
        if self.world.refuses[self.node]:
            raise LIMITED
        return check_send(user, send, TEXT_MAX_BYTES, self.id_max, partition)

    def check_in_group(self, user: UserId, send: Send, as_system: bool) -> None:
        """The same, for what is sent to a group."""
        self.check(user, send, None)

    def refuse(
        self, connection: Connection, session: Session, send: Send, refusal: Refusal
    ) -> None:
        """Answer that a send will never be accepted."""
        session.refuse(send.client_message_id, refusal)

    def hang_up(self, connection: Connection) -> None:
        """The client has gone."""
        connection.server_open = False
        if connection in self.joining:
            self.joining.remove(connection)
        elif connection.session:
            self.owner.detach(connection.session)

    def stop(self, refusal: Refusal | None) -> None:
        """End for good; without a reason: a crash, sessions just break off."""
        self.producer.server = None
        self.world.servers.pop((self.node, self.partition), None)
        if refusal:
            for connection in self.joining:
                if connection.session:
                    connection.session.close(refusal)
            self.owner.end(refusal)
