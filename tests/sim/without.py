"""What stands in the place of a rule when it is taken away: see `ablations`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cecochat.domain.cluster.versions import Rank, missing
from cecochat.domain.device.device import Device, Happening, Received, Sent
from cecochat.domain.errors import Refusal
from cecochat.domain.log.chain import Chain, Here
from cecochat.domain.log.fold import Fold
from cecochat.domain.log.ids import EPOCH_MS, SEQUENCE_BITS, UserId
from cecochat.domain.log.place import NOWHERE, Place
from cecochat.domain.log.records import Copied, Copy, LogRecord, Origin, State
from cecochat.domain.log.reliable import ReliableStates
from cecochat.domain.ownership.clock import OwnClock
from cecochat.domain.ownership.forwarder import Forwarder, Lane
from cecochat.domain.ownership.owner import Owner
from cecochat.domain.session import frames, resume
from cecochat.domain.session.session import Session
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import ClientFrame, Gap, Hello, ReadToken, Send
from tests.sim.assigning import Assignment
from tests.sim.client import Client
from tests.sim.connection import Connection
from tests.sim.history import Audit, History, Materializer
from tests.sim.joining import FAILED
from tests.sim.log import Log
from tests.sim.server import LIMITED, Server
from tests.sim.world import World


def always(*_: object) -> bool:
    return True


def never(*_: object) -> None:
    return None


def never_asks(*_: object, held: bool) -> None:
    return None


def skip_and_go_on(self: Owner, offset: int, *_: object) -> bool:
    self.cursor = offset + 1
    return False


def _key(origin: Origin) -> tuple[UserId, str]:
    return origin.user_id, origin.client_message_id


_next_stamp = Owner.next_stamp


def _waiting(server: Server, origin: Origin, *, forget: bool = False) -> list[Session]:
    pending = server.owner.pending.get(_key(origin))
    if forget:
        server.owner.pending.pop(_key(origin), None)
    return pending.sessions if pending else []


_appended = Server.appended


def acknowledge_when_appended(self: Server, target: int, record: LogRecord, offset: int) -> None:
    if isinstance(record, Origin):
        for session in _waiting(self, record, forget=True):
            session.push(frames.ack(record.client_message_id, record.id, self.log.place(offset)))
    _appended(self, target, record, offset)


def acknowledge_early(self: Server, target: int, record: LogRecord, offset: int) -> None:
    """What is valid for certain is acknowledged ahead of what lies before it in the stream."""
    if isinstance(record, Origin) and self.log.fold_at(offset - 1).step(offset, record, 0):
        for session in _waiting(self, record):
            session.push(frames.ack(record.client_message_id, record.id, self.log.place(offset)))
    _appended(self, target, record, offset)


_read = Server.read


def read_without_forwarding(self: Server) -> None:
    if self.owner.ready:
        vars(self.owner.forwarder)["add"] = never
    _read(self)


def forward_when_appended(self: Server, target: int, record: LogRecord, offset: int) -> None:
    if isinstance(record, Origin):
        chain, at = self.owner.fold.chain, self.log.place(offset)
        chain.add(at, record)
        Forwarder.add(self.owner.forwarder, at, record, chain.links)
    _appended(self, target, record, offset)


def carry_on(self: Server, target: int, record: LogRecord) -> None:
    if not isinstance(record, Origin):
        self.append(target, record)  # again, behind those that were given after it
        return
    for session in _waiting(self, record, forget=True):
        session.close(FAILED)
        self.owner.detach(session)


_start = Server.__init__


def start_with_a_new_chain(self: Server, world: World, node: int, partition: int) -> None:
    """Its first copy to each partition names none before it."""
    _start(self, world, node, partition)
    self.owner.fold.chain.last.clear()


_add = Chain.add


def add_for_those_elsewhere(self: Chain, at: Place, origin: Origin) -> None:
    _add(self, at, origin)
    self.home = []


def concerns_its_sender(record: LogRecord, user_id: UserId) -> bool:
    if isinstance(record, Origin):
        return record.user_id == user_id
    return isinstance(record, Copy) and user_id in record.recipient_ids


_state = Fold.state


def state_without_what_is_missing(self: Fold, as_of: int) -> State:
    return replace(_state(self, as_of), owed={}, unread=-1)


_leave_out = Lane.leave_out


def leave_out_and_wait(self: Lane, lowest: int) -> None:
    """The next copy names the one before it, which the target can never get."""
    _leave_out(self, lowest)
    self._lost_from = None


def fold_by_timestamp(self: World, partition: int, position: int, *_: object) -> Fold:
    """Exact but for `high`: that of the records since the oldest origin that is not known to be
    forwarded.
    """
    oldest = min(
        (
            log.appended_at_ms[offset]
            for log, watermark in zip(self.logs, self.watermark, strict=True)
            for offset in range(watermark.offset + 1, log.end)
            if isinstance(log.records[offset], Origin)
        ),
        default=self.now_ms * 2,
    )
    fold, log = Fold(Here(partition, self.place)), self.logs[partition]
    high: dict[int, Copied] = {}
    for offset in range(position + 1):
        record = log.records[offset]
        counts = fold.step(offset, record, log.appended_at_ms[offset])
        if counts and isinstance(record, Copy) and log.appended_at_ms[offset] >= oldest:
            high[record.origin_partition] = Copied(record.origin, record.id)
    fold.high = high
    return fold


def owed_but_for_the_forgotten(self: Lane) -> int | None:
    return next(iter(self.under_way or [each.at.offset for each in self._waiting]), None)


def expire_without_telling(self: Owner, now_ms: int) -> None:
    self.sent.expire(now_ms)


_settle = Owner.settle


def settle_for_the_last(self: Owner, session: Session, send: Send, seen: int) -> bool:
    """Of those that wait for a send, only the last one is acknowledged."""
    settled = _settle(self, session, send, seen)
    if pending := self.under_way((session.user_id, send.client_message_id)):
        pending.sessions[:-1] = []
    return settled


def state_without_top(self: Fold, as_of: int) -> State:
    return replace(_state(self, as_of), top=0)


def stamp_whatever_was_seen(self: Owner, now_ms: int, seen_id: int) -> int:
    return _next_stamp(self, now_ms)


def stamp_by_count(self: Owner, now_ms: int, seen_id: int) -> int:
    return now_ms - EPOCH_MS << SEQUENCE_BITS | self._number % 4


def fill_without_own(self: Client, event: Event) -> Happening | None:
    if event.user_id == self.user and event.client_message_id in self.device.outbox:
        return None
    return self.device.fill(event)


def fill_with_all(self: Client, event: Event) -> Happening | None:
    return self.device.show(event)


def refuse_and_go_on(self: Session, client_message_id: str, refusal: Refusal) -> None:
    self.push(frames.refused(client_message_id, refusal))


def top_before_copy(self: Fold, record: Copy) -> int:
    return self.top


def answered_with_a_lower_mark(self: Device, client_message_id: str, id_: int) -> Sent | None:
    send = self.outbox.pop(client_message_id, None)
    if send is None:
        return None
    self.shown.setdefault(send.chat_id, {})[self.user_id] = id_
    return Sent(send, id_)


def resends_newest_first(self: Device) -> list[str]:
    return list(reversed(self.outbox))


_resume = resume.start


_gap = resume.gap


def gap_without_its_partition(*args: Any) -> Gap:
    gap = _gap(*args)
    gap.token.offsets.pop(args[2], None)
    return gap


def gap_of_its_partition_alone(*args: Any) -> Gap:
    gap = _gap(*args)
    for origin in set(gap.token.offsets) - {args[2]}:
        gap.token.offsets.pop(origin)
    return gap


def resume_anywhere(*args: Any, **known: Any) -> resume.Start:
    return _resume(*args, **known)._replace(gapped=False)


def resume_at_the_last(*args: Any, **known: Any) -> resume.Start:
    start = _resume(*args, **known)
    lower = max(start.position - 1, known["first_known"])
    return start if start.gapped else start._replace(position=lower)


def show_again(self: Device, event: Event) -> Received:
    return Received(event)


def refuse_before_settling(self: Server, connection: Connection, frame: ClientFrame) -> None:
    session = connection.session
    assert session is not None
    for send in frame.sends:
        if self.world.refuses[self.node]:
            self.refuse(connection, session, send, LIMITED)
        elif not self.owner.settle(session, send, frame.offset):
            self.take(connection, session, send)


def audit_to_the_end(self: Audit) -> int:
    return self.world.logs[self.partition].end - 1


def new_by_offset(self: Fold, record: Copy, high: Place) -> bool:
    return record.origin.offset > high.offset


def no_time(self: Server, hello: Hello) -> int:
    return 0


def covers_by_offset(self: History, token: ReadToken) -> bool:
    held = self.progress
    return all(held.get(p, NOWHERE).offset >= offset for p, offset in token.offsets.items())


def forwarded_by_offset(self: Server) -> int:
    return min(self.world.watermark[self.partition].offset, self.log.end - 1)


def held_by_offset(self: Materializer, reached: Place) -> Place:
    held = min(self.committed.offset, reached.offset, self.log.end - 1)
    return reached._replace(offset=held)


def told_whatever_was_lost(self: ReliableStates, offset: int, state: State) -> bool:
    return self._start - 1 <= state.as_of


def never_differs(self: Log, cursor: int, last: LogRecord | None) -> bool:
    return False


def miss_own_too(self: Client, event: Event) -> Happening | None:
    self.record.told.add(event.id)
    return None


def rank_by_number(self: Assignment) -> Rank:
    return Rank(self.version, "")


def missing_whatever_was_taken_over(stored: Rank, known: Rank, _: int) -> int | None:
    return missing(stored, known)


def compare_whatever_it_shows(self: OwnClock, made_ms: int, appended_at_ms: int) -> None:
    self.ahead_ms = made_ms - appended_at_ms
    self._right_up_to_ms = max(made_ms, self._right_up_to_ms or 0)
