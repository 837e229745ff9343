"""The thinnest shells round the project's own classes: a partition's log, a server that owns it, a
client with a device.

They do what the asyncio shells do, one step a call, and record what the oracle judges. Nothing here
decides anything about the protocol.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cecochat.domain import frames, resume
from cecochat.domain.client import (
    CaughtUp,
    Device,
    Disconnected,
    Happening,
    Received,
    Rejected,
    Sent,
)
from cecochat.domain.errors import Refusal
from cecochat.domain.fold import Fold
from cecochat.domain.ids import ChatId, UserId, authorise
from cecochat.domain.owner import Owner
from cecochat.domain.records import Copy, LogRecord, State, decode, encode
from cecochat.domain.session import Replay, Session
from cecochat.v1 import errors_pb2
from cecochat.v1.events_pb2 import Message
from cecochat.v1.messaging_pb2 import (
    ClientFrame,
    Hello,
    Position,
    Send,
    ServerFrame,
    ServerItem,
    Welcome,
)
from tests.sim.oracle import DeviceRecord, SendRecord, Shown

if TYPE_CHECKING:
    from tests.sim.world import World

LOG_ID = "log"

MOVED = Refusal(errors_pb2.ERROR_CODE_MOVED, "moved")
FAILED = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, "an append failed")
TRIMMED = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, "retention overtook the replay")
NOT_A_MEMBER = Refusal(errors_pb2.ERROR_CODE_FORBIDDEN, "not a member")


class Log:
    """One partition. Records stay for ever, for the oracle; readers may not go below `start`."""

    def __init__(self) -> None:
        self.records: list[LogRecord] = []
        self.appended_at_ms: list[int] = []  # by the clock of the server that appended
        self.start = 0
        self.states: list[tuple[int, State]] = []

    @property
    def end(self) -> int:
        """The offset of the next record."""
        return len(self.records)

    def append(self, record: LogRecord, now_ms: int) -> int:
        """Store a record the way it is stored, as bytes; returns its offset."""
        offset = len(self.records)
        record = decode(*encode(record))
        if isinstance(record, State):
            self.states.append((offset, record))
        self.records.append(record)
        self.appended_at_ms.append(now_ms)
        return offset

    def fold_at(self, position: int) -> Fold:
        """What a reader knows after `position`, from the last state record at or before it."""
        fold, cursor = Fold(), 0
        kept = [
            (offset, state)
            for offset, state in self.states
            if offset >= self.start and self.start - 1 <= state.as_of <= position
        ]
        if kept:
            before = [each for each in kept if each[0] <= position]
            state = before[-1][1] if before else kept[0][1]
            fold, cursor = Fold.restored(state), state.as_of + 1
        assert cursor >= self.start, f"no state is known at {position}: kept from {self.start}"
        for offset in range(cursor, position + 1):
            fold.step(offset, self.records[offset])
        return fold

    def first_known(self) -> int:
        """The lowest position whose state can be had from what retention left."""
        if self.start == 0:
            return -1
        return min(
            state.as_of
            for offset, state in self.states
            if offset >= self.start and state.as_of >= self.start - 1
        )


class Request:
    """A record on its way into a partition."""

    __slots__ = ("appended_at_ms", "record")

    def __init__(self, record: LogRecord, appended_at_ms: int) -> None:
        self.record = record
        self.appended_at_ms = appended_at_ms


class Producer:
    """One producer session: per target partition a FIFO of requests and one of answers, which are
    (record, offset).
    """

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server: Server | None = server  # None: dead or abandoned; what it sent may land yet
        self.requests: dict[int, deque[Request]] = {}
        self.answers: dict[int, deque[tuple[LogRecord, int]]] = {}


class Connection:
    """One stream of a client: frames on the way to the server, items on the way to the device."""

    def __init__(self, client: Client, node: int) -> None:
        self.client = client
        self.node = node
        self.to_server: deque[ClientFrame] = deque()
        self.to_device: deque[ServerItem] = deque()
        self.client_open = True
        self.server_open = True
        self.server: Server | None = None
        self.session: Session | None = None
        self.replay: Replay | None = None

    def refuse(self) -> None:
        """The server hangs up before or instead of a session."""
        self.server_open = False
        self.to_server.clear()


class Server:
    """One node's ownership of one partition, from a new producer session on."""

    def __init__(self, world: World, node: int, partition: int) -> None:
        self.world = world
        self.node = node
        self.partition = partition
        self.log = world.logs[partition]
        self.joining: list[Connection] = []
        self.producer = world.new_producer(self)
        lowest = self.log.first_known()
        forwarded = max(world.watermark[partition], lowest)
        position = max(min(forwarded, self.log.end - 1 - world.shape.resend_records), lowest)
        self.owner = Owner(
            partition,
            self.producer.name,
            world.fold_at(partition, position),
            cursor=position + 1,
            forwarded=forwarded,
            place=world.place,
            limits=world.shape.limits(),
        )
        self.append(partition, self.owner.takeover(f"n{node}", assignment_version=0))

    def now_ms(self) -> int:
        """This node's clock."""
        return self.world.now_ms + self.world.skew_ms[self.node]

    # -- appends

    def append(self, target: int, record: LogRecord) -> None:
        """Hand a record to the producer session."""
        request = Request(record, self.now_ms())
        self.producer.requests.setdefault(target, deque()).append(request)

    def appended(self, record: LogRecord, offset: int) -> None:
        """The answer to an append: it is durable at `offset`."""
        if isinstance(record, Copy):
            self.owner.forwarder.acknowledged(record.origin_offset)

    def append_failed(self, target: int, record: LogRecord) -> None:
        """The record is in the log or not; nobody knows. The session and its epoch end."""
        self.stop(FAILED)
        self.world.start_server(self.node, self.partition)

    # -- the log

    def read(self) -> None:
        """Feed the next record to the owner, and do what follows from it."""
        owner = self.owner
        if owner.cursor < self.log.start:
            self.stop(TRIMMED)
            self.world.start_server(self.node, self.partition)
            return
        owner.read(owner.cursor, self.log.records[owner.cursor], self.now_ms())
        if owner.superseded:
            self.stop(MOVED)
        elif owner.ready and owner.state_due:
            self.append(self.partition, owner.state())

    def forward(self, limit: int) -> bool:
        """Append the copies of the next origins."""
        if not self.owner.ready:
            return False
        copies = self.owner.forwarder.take(limit)
        for target, copy in copies:
            self.append(target, copy)
        return bool(copies)

    def commit(self) -> bool:
        """Say how far all targets are; not fenced, and it may arrive late or never."""
        if not self.owner.ready:
            return False
        forwarder = self.owner.forwarder
        forwarder.caught_up(self.owner.cursor - 1)
        self.world.commits.append((self.partition, forwarder.done))
        return True

    # -- sessions

    def join(self, connection: Connection, hello: Hello) -> None:
        """Welcome a session; it is attached at once, or after a replay from the log."""
        if not self.owner.ready:
            connection.refuse()
            return
        session = Session(
            "s",
            connection.client.user,
            queue_max_bytes=self.world.shape.queue_max_bytes,
            wake=_nothing,
        )
        connection.server, connection.session = self, session
        try:
            start = resume.start(
                hello,
                log_id=LOG_ID,
                partition=self.partition,
                first_known=self.log.first_known(),
                log_end=self.log.end,
                read_to=self.owner.cursor,
            )
        except Refusal as refusal:
            session.close(refusal)
            return
        session.position = start.position
        position = Position(log_id=LOG_ID, partition=self.partition, offset=start.position)
        session.push(frames.welcome(Welcome(position=position, server_time_ms=self.now_ms())))
        if start.gapped:
            fold = self.world.fold_at(self.partition, start.position)
            gap = resume.gap(hello, LOG_ID, self.partition, start.position, fold)
            session.push(frames.gap(gap))
        self.joining.append(connection)
        self.attach(connection, records_max=0)

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
        offset = session.position + 1
        if offset < self.log.start or (
            connection.replay is None and session.position < self.log.first_known()
        ):
            session.close(TRIMMED)
            return
        if connection.replay is None:
            connection.replay = Replay(session, self.world.fold_at(self.partition, offset - 1))
        connection.replay.feed(offset, self.log.records[offset])

    def receive(self, connection: Connection, frame: ClientFrame) -> None:
        """A batch of sends."""
        session = connection.session
        assert session is not None
        for send in frame.sends:
            if self.owner.settles(session, send, frame.offset):
                continue
            self.accept_or_refuse(connection, session, send)

    def accept_or_refuse(self, connection: Connection, session: Session, send: Send) -> None:
        """A send that is no repeat."""
        recipients = self.world.recipients(self.node, session.user_id, send.chat_id)
        if recipients is None:
            self.refuse(connection, session, send)
        else:
            origin = self.owner.accept(session, send, recipients, self.now_ms())
            self.append(self.partition, origin)

    def refuse(self, connection: Connection, session: Session, send: Send) -> None:
        """Answer that a send will never be accepted."""
        connection.client.note_refused(send, connection)
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


class Client:
    """A device, the connection that it has, and the record of what it saw."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.user = name[0]
        self.device = Device(self.user)
        self.connection: Connection | None = None
        self.connections: list[Connection] = []
        self.record = DeviceRecord(name, self.user)

    # -- towards the server

    def connect(self, node: int) -> None:
        """Open a stream and say hello."""
        self.connection = Connection(self, node)
        self.connections.append(self.connection)
        self.connection.to_server.append(self.device.hello(self.name))

    def cut(self) -> None:
        """Give the stream up. What was written may still be read by the server."""
        assert self.connection is not None
        self.connection.client_open = False
        self.connection.to_device.clear()
        self.connection = None

    def send(self, chat: str, number: int) -> None:
        """A person writes a message."""
        send = Send(client_message_id=str(number), chat_id=chat, message=Message(text="."))
        self.record.sends.append(SendRecord(number, chat, self.record.highest_streamed(chat)))
        self.device.submit(send)
        self.flush()

    def flush(self) -> None:
        """Write what the device wants to be written."""
        if self.connection:
            while frame := self.device.outgoing(2):
                self.connection.to_server.append(frame)

    def reload(self) -> None:
        """The application is killed and started again from what it kept."""
        if self.connection:
            self.cut()
        self.device = Device.restored(json.loads(json.dumps(self.device.snapshot())))

    # -- from the server

    def take(self, limit_bytes: int) -> bool:
        """Read what the network has, item by item; whether there was anything."""
        connection = self.connection
        if connection is None or self.device.gap:
            return False
        if not connection.to_device and connection.session:
            frame = connection.session.take(limit_bytes)
            connection.to_device.extend(ServerFrame.FromString(frame).items)
        if not connection.to_device:
            if connection.server_open:
                return False
            self.cut()
        while self.connection and connection.to_device and not self.device.gap:
            self.receive(connection.to_device.popleft())
        return True

    def receive(self, item: ServerItem) -> None:
        """One item of the stream."""
        self.record.on_wire(item, self.world.sends)
        happening = self.device.receive(item)
        match happening:
            case CaughtUp():
                self.flush()
            case Rejected():
                self.record.rejected.add(int(happening.send.client_message_id))
                self.rejected()
            case Disconnected():
                self.cut()
            case _:
                self.surface(happening, from_history=False)

    def rejected(self) -> None:
        """After a refusal the session takes no more: come back."""
        self.cut()

    def note_refused(self, send: Send, on: Connection) -> None:
        """For the oracle; see `DeviceRecord.withdrawn`."""
        under_way = any(
            send in frame.sends
            for connection in self.connections
            if connection is not on
            for frame in connection.to_server
        )
        if under_way:
            self.record.withdrawn.add(int(send.client_message_id))

    def surface(self, happening: Happening | None, *, from_history: bool) -> None:
        """Show a person what the device says is new."""
        match happening:
            case Received(event):
                shown = Shown(event.user_id, int(event.client_message_id), event.chat_id, event.id)
            case Sent(send, message_id):
                number = int(send.client_message_id)
                shown = Shown(self.user, number, send.chat_id, message_id)
            case _:
                return
        self.record.shown.append(shown)
        if not from_history:
            self.record.streamed.append(shown)

    def fill(self) -> None:
        """Fill the gap from the history, which holds all that the gap's token asks for."""
        for chat in self.world.history.chats(self.user):
            for event in self.world.history.read(self.user, chat, self.device.shown_up_to(chat)):
                self.surface(self.device.show(event), from_history=True)
        self.device.filled()


def recipients_of(user: str, chat: str, members: frozenset[str]) -> Sequence[str] | None:
    """Whom a send concerns besides its sender; None: it may not send there."""
    if chat.startswith("d:"):
        return authorise(UserId(user), ChatId(chat))
    return sorted(members - {user}) if user in members else None


def _nothing() -> None:
    return None
