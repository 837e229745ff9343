"""The thinnest shell round the project's own `Owner`: what the asyncio shell does, one step a call.

Nothing here decides anything about the protocol.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from cecochat.domain.cluster.versions import Claim
from cecochat.domain.errors import Refusal, Trimmed, Undecodable
from cecochat.domain.log.ids import UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copy, LogRecord, Origin
from cecochat.domain.ownership.forwarder import Lost
from cecochat.domain.session import frames, resume
from cecochat.domain.session.session import Replay, Session, replace
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import ClientFrame, Hello, Position, Send, Welcome
from tests.sim import beginning
from tests.sim.connection import Connection
from tests.sim.loading import load, uncopied
from tests.sim.log import LOG_ID
from tests.sim.recall import Recall

if TYPE_CHECKING:
    from tests.sim.world import World

MOVED = Refusal(errors_pb2.ERROR_CODE_MOVED, "moved")
FAILED = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, "an append failed")
TRIMMED = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, "retention overtook the replay")
NOT_A_MEMBER = Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, "not a member")


class Server:
    """One node's ownership of one partition, from a new producer session on. It reads ahead until
    it claims the partition by its takeover record.
    """

    def __init__(self, world: World, node: int, partition: int) -> None:
        self.world = world
        self.node = node
        self.partition = partition
        self.log = world.logs[partition]
        self.version = world.memories[node].document.version
        self.joining: list[Connection] = []
        self.claimed = False
        self.recall: Recall | None = None
        self.producer = world.new_producer(self)
        self.lost_end = NOWHERE  # noted of an end that the log lost
        self.begins = 0  # below that, its owner forwards nothing
        self.owner = load(self)
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

    def now_ms(self) -> int:
        """This node's clock."""
        return self.world.now_ms + self.world.skew_ms[self.node]

    # -- appends

    def append(self, target: int, record: LogRecord) -> None:
        """Hand a record to the producer session."""
        self.producer.requests.setdefault(target, deque()).append(record)

    def appended(self, record: LogRecord, offset: int) -> None:
        """The answer to an append: it is durable at `offset`."""
        if isinstance(record, Copy):
            self.owner.forwarder.acknowledged(self.place(record.recipient_ids[0]))

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
        elif owner.ready and owner.state_due(self.now_ms()):
            self.append(self.partition, owner.state(self.now_ms()))

    @property
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
            lowest = beginning.lowest_fold(self.log, self.place)
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
            self.append(self.partition, self.owner.state(self.now_ms()))
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
        self.append(self.partition, owner.state(self.now_ms()))  # its house is kept at once
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

    # -- sessions

    def join(self, connection: Connection, hello: Hello) -> None:
        """Welcome a session; it is attached at once, or after a replay from the log."""
        if not self.owner.ready or self.is_lost:
            connection.refuse()
            return
        session = Session(
            "s",
            UserId(connection.client.user),
            queue_max_bytes=self.world.shape.queue_max_bytes,
            wake=_nothing,
        )
        connection.server, connection.session = self, session
        session.device_id = hello.device_id
        self.replace(session)
        try:
            start = resume.start(
                hello,
                log_id=LOG_ID,
                partition=self.partition,
                first_known=self.log.first_known(),
                log_end=self.log.end,
                read_to=self.owner.cursor,
                appended_at_ms=self.appended_at_ms(hello),
                hidden_at=self.owner.hidden.up_to,
            )
        except Refusal as refusal:
            session.close(refusal)
            return
        session.position = start.position
        position = Position(log_id=LOG_ID, partition=self.partition, offset=start.position)
        welcome = Welcome(position=position, server_time_ms=self.now_ms())
        at_end = not start.gapped or start.position == self.owner.cursor - 1
        fold = (
            self.owner.fold if at_end else self.world.known_fold_at(self.partition, start.position)
        )
        if fold is None:
            session.close(TRIMMED)
            return
        if start.gapped or not hello.HasField("position"):
            welcome.position.clock_ms = fold.clock_ms
            welcome.up_to.update((fold.ids if start.gapped else fold.since)(self.partition))
        session.push(frames.welcome(welcome))
        if start.gapped:
            gap = resume.gap(
                hello, LOG_ID, self.partition, start.position, fold, len(self.world.logs)
            )
            session.push(frames.gap(gap))
        self.joining.append(connection)
        self.attach(connection, records_max=0)

    def appended_at_ms(self, hello: Hello) -> int:
        """When the record at the position of the hello was, or one before it; 0: not known."""
        offset = hello.position.offset
        clock_ms = self.owner.tail.clock_at(offset)
        if clock_ms is None and self.log.start <= offset < self.log.end:
            clock_ms = self.log.appended_at_ms[offset]
        elif clock_ms is None and offset == self.log.start - 1:
            fold = self.log.known_fold_at(offset)
            clock_ms = fold.clock_ms if fold else None
        return clock_ms or 0

    def replace(self, session: Session) -> None:
        """End the older sessions of the same device."""
        joining = [each.session for each in self.joining if each.session]
        replace(session, [*joining, *self.owner.sessions.get(session.user_id, ())])

    def attach(self, connection: Connection, records_max: int) -> None:
        """Attach once the tail holds the rest and the queue has room for it; until then replay up
        to so many records of the log.
        """
        session = connection.session
        assert session is not None
        while not session.closed:
            if self.owner.can_attach(session):
                if self.owner.attach(session):
                    break
                connection.replay = None  # the tail has moved the session past where that stood
                return
            if records_max == 0 or not session.has_room:
                return
            records_max -= 1
            self.replay_next(connection, session)
        self.joining.remove(connection)

    def replay_next(self, connection: Connection, session: Session) -> None:
        """Bring the session one record of the log."""
        offset = self.log.at_or_after(session.position + 1)
        if self.is_lost:
            session.close(FAILED)
            return
        if offset < self.log.start or (
            connection.replay is None and session.position < self.log.first_known()
        ):
            session.close(TRIMMED)
            return
        if connection.replay is None:
            connection.replay = Replay(
                session, self.world.fold_at(self.partition, session.position)
            )
        record, appended_at_ms = self.log.records[offset], self.log.appended_at_ms[offset]
        if not connection.replay.feed(offset, record, appended_at_ms):
            self.owner.hidden.note(offset)
            session.close(FAILED)

    def receive(self, connection: Connection, frame: ClientFrame) -> None:
        """A batch of sends."""
        session = connection.session
        assert session is not None
        for send in frame.sends:
            if self.owner.settle(session, send, frame.offset):
                continue
            self.accept_or_refuse(connection, session, send)

    def accept_or_refuse(self, connection: Connection, session: Session, send: Send) -> None:
        """A send that is no repeat."""
        recipients = self.world.recipients(self.node, session.user_id, send.chat_id)
        if recipients is None:
            self.refuse(connection, session, send)
        else:
            try:
                origin = self.owner.accept(session, send, recipients, self.now_ms())
            except Refusal as refusal:
                session.close(refusal)
            else:
                self.append(self.partition, origin)

    def refuse(self, connection: Connection, session: Session, send: Send) -> None:
        """Answer that a send will never be accepted."""
        session.refuse(send.client_message_id, NOT_A_MEMBER)

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


def _nothing() -> None:
    return None
