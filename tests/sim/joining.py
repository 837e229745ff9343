"""How a server takes sessions in: it welcomes them, and brings them what they missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cecochat.domain.errors import Refusal
from cecochat.domain.log.ids import UserId
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session import frames, resume
from cecochat.domain.session.session import Replay, Session, replace
from cecochat.v1 import errors_pb2
from cecochat.v1.messaging_pb2 import Hello, Position, Welcome
from tests.sim.connection import Connection
from tests.sim.log import LOG_ID

if TYPE_CHECKING:
    from tests.sim.world import World

FAILED = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, "an append failed")
TRIMMED = Refusal(errors_pb2.ERROR_CODE_UNAVAILABLE, "retention overtook the replay")


class Joining:
    """The part of a server that takes sessions in."""

    def __init__(self, world: World, node: int, partition: int) -> None:
        self.world = world
        self.node = node
        self.partition = partition
        self.log = world.logs[partition]
        self.joining: list[Connection] = []
        self.owner: Owner

    @property
    def is_lost(self) -> bool:
        """Whether the log does not hold any more what this has read of it."""
        raise NotImplementedError

    def now_ms(self) -> int:
        """This node's clock."""
        return self.world.now_ms + self.world.skew_ms[self.node]

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
        connection.server, connection.session = self, session  # type: ignore[assignment]
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


def _nothing() -> None:
    return None
