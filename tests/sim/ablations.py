"""The rules less one each: methods of the project's classes, or of the shells, overridden for the
length of a run.

What breaks then is what the rule is for. The code under test has no switch for any of this.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from cecochat.domain import frames, resume
from cecochat.domain.client import Device, Happening, Received
from cecochat.domain.errors import Refusal
from cecochat.domain.fold import Fold
from cecochat.domain.forwarder import Forwarder, Lane
from cecochat.domain.ids import EPOCH_MS, SEQUENCE_BITS
from cecochat.domain.owner import Owner
from cecochat.domain.records import Copied, Copy, LogRecord, Origin
from cecochat.domain.sent import SentTable
from cecochat.domain.session import Session
from cecochat.v1.events_pb2 import Event
from cecochat.v1.messaging_pb2 import ClientFrame, Gap
from tests.sim import oracle
from tests.sim.client import Client
from tests.sim.history import History
from tests.sim.schedule import STEPS, Run, Weights, random_run
from tests.sim.server import FAILED, Connection, Server
from tests.sim.world import World

Override = tuple[Any, str, object]  # class or module, name, what it is replaced by


@dataclass(frozen=True)
class Ablation:
    """One rule less. `weights` make more of what it takes, `seed` is one that is known to fail."""

    name: str
    overrides: tuple[Override, ...]
    expected: frozenset[str]
    seed: int
    weights: Weights

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Without the rule, inside this context."""
        with ExitStack() as stack:
            for where, name, replacement in self.overrides:
                stack.enter_context(patch.object(where, name, replacement))
            yield

    def run(self, seed: int) -> Run:
        """A seed without the rule."""
        with self.applied():
            return random_run(seed, STEPS, weights=self.weights)

    def control(self, seed: int) -> Run:
        """The same seed with all rules."""
        return random_run(seed, STEPS, weights=self.weights)


def survey(ablation: Ablation, seeds: int) -> str:
    """How often it fails, and how."""
    kinds: Counter[str] = Counter()
    failing = []
    for seed in range(seeds):
        found = ablation.run(seed).kinds
        kinds.update(found)
        if found & ablation.expected:
            failing.append(seed)
    return f"{ablation.name}: {len(failing)} of {seeds} {failing[:8]} {dict(kinds.most_common())}"


# -- what replaces the rules


def _always(*_: object) -> bool:
    return True


def _never(*_: object) -> None:
    return None


def _key(origin: Origin) -> tuple[str, str]:
    return origin.user_id, origin.client_message_id


_next_stamp = Owner.next_stamp


def _waiting(server: Server, origin: Origin, *, forget: bool = False) -> list[Session]:
    pending = server.owner.pending.get(_key(origin))
    if forget:
        server.owner.pending.pop(_key(origin), None)
    return pending.sessions if pending else []


_appended = Server.appended


def _acknowledge_when_appended(self: Server, record: LogRecord, offset: int) -> None:
    if isinstance(record, Origin):
        for session in _waiting(self, record, forget=True):
            session.push(frames.ack(record.client_message_id, record.id, offset))
    _appended(self, record, offset)


def _acknowledge_early(self: Server, record: LogRecord, offset: int) -> None:
    """What is valid for certain is acknowledged ahead of what lies before it in the stream."""
    if isinstance(record, Origin) and self.log.fold_at(offset - 1).step(offset, record):
        for session in _waiting(self, record):
            session.push(frames.ack(record.client_message_id, record.id, offset))
    _appended(self, record, offset)


_read = Server.read


def _read_without_forwarding(self: Server) -> None:
    if self.owner.ready:
        vars(self.owner.forwarder)["add"] = _never
    _read(self)


def _forward_when_appended(self: Server, record: LogRecord, offset: int) -> None:
    if isinstance(record, Origin):
        Forwarder.add(self.owner.forwarder, offset, record)
    _appended(self, record, offset)


def _carry_on(self: Server, target: int, record: LogRecord) -> None:
    if not isinstance(record, Origin):
        self.append(target, record)  # again, behind those that were given after it
        return
    for session in _waiting(self, record, forget=True):
        session.close(FAILED)
        self.owner.detach(session)


_start = Server.__init__


def _start_with_recipients_of_today(self: Server, world: World, node: int, partition: int) -> None:
    def recipients(origin: Origin) -> object:
        chat = Event.FromString(origin.event).chat_id
        return world.recipients(node, origin.user_id, chat) or ()

    _start(self, world, node, partition)
    vars(self.owner.forwarder)["recipients"] = recipients


def _fold_by_timestamp(self: World, partition: int, position: int) -> Fold:
    """Exact but for `high`: that of the records since the oldest origin that is not known to be
    forwarded.
    """
    oldest = min(
        (
            log.appended_at_ms[offset]
            for log, watermark in zip(self.logs, self.watermark, strict=True)
            for offset in range(watermark + 1, log.end)
            if isinstance(log.records[offset], Origin)
        ),
        default=self.now_ms * 2,
    )
    fold, log = Fold(), self.logs[partition]
    high: dict[int, Copied] = {}
    for offset in range(position + 1):
        record = log.records[offset]
        counts = fold.step(offset, record)
        if counts and isinstance(record, Copy) and log.appended_at_ms[offset] >= oldest:
            high[record.origin_partition] = Copied(record.origin_offset, record.id)
    fold.high = high
    return fold


def _owed_but_for_the_forgotten(self: Lane) -> int | None:
    return next(iter(self.under_way or [each.offset for each in self._waiting]), None)


def _stamp_whatever_was_seen(self: Owner, now_ms: int, seen_id: int) -> int:
    return _next_stamp(self, now_ms)


def _stamp_by_count(self: Owner, now_ms: int, seen_id: int) -> int:
    return now_ms - EPOCH_MS << SEQUENCE_BITS | self._number % 4


def _fill_without_own(self: Client, event: Event) -> Happening | None:
    if event.user_id == self.user and event.client_message_id in self.device.outbox:
        return None
    return self.device.fill(event)


def _fill_with_all(self: Client, event: Event) -> Happening | None:
    return self.device.show(event)


def _refuse_and_go_on(self: Session, client_message_id: str, refusal: Refusal) -> None:
    self.push(frames.refused(client_message_id, refusal))


def _top_before_copy(self: Fold, record: Copy) -> int:
    return self.top


def _resends_newest_first(self: Device) -> list[str]:
    return list(reversed(self.outbox))


_resume = resume.start


_gap = resume.gap


def _gap_without_its_partition(*args: Any) -> Gap:
    gap = _gap(*args)
    gap.token.offsets.pop(args[2], None)
    return gap


def _resume_anywhere(*args: Any, **known: Any) -> resume.Start:
    return _resume(*args, **known)._replace(gapped=False)


def _resume_at_the_last(*args: Any, **known: Any) -> resume.Start:
    start = _resume(*args, **known)
    lower = max(start.position - 1, known["first_known"])
    return start if start.gapped else start._replace(position=lower)


def _show_again(self: Device, event: Event) -> Received:
    return Received(event)


def _refuse_before_settling(self: Server, connection: Connection, frame: ClientFrame) -> None:
    session = connection.session
    assert session is not None
    for send in frame.sends:
        if self.world.recipients(self.node, session.user_id, send.chat_id) is None:
            self.refuse(connection, session, send)
        elif not self.owner.settles(session, send, frame.offset):
            self.accept_or_refuse(connection, session, send)


def _ablation(
    name: str,
    *overrides: Override,
    expect: frozenset[str],
    seed: int,
    weights: Weights | None = None,
) -> Ablation:
    return Ablation(name, overrides, expect, seed, weights or {})


_HAND_OVERS = {"pause": 4, "resume": 2, "assign": 4, "learn": 3, "land": 0.5, "send": 1.5}
_FAILED_APPENDS = {"fail": 6, "land": 0.6, "send": 1.5, "forward": 1.5}
_SLOW_TARGETS = {"stall": 10, "send": 2, "to_server": 2, "forward": 2, "recall": 0.5, "commit": 2}
_REPEATS = {"cut": 4, "expire": 4, "long_tick": 6, "hang_up": 0, "to_server": 0.3, "crash": 0.2}
_REFUSALS = {"limit": 10, "cut": 3, "send": 1.5, "crash": 0.3}
_GAPS = {"commit": 3, "land_commit": 3, "commit_materialized": 3, "trim": 4, "cut": 4}
_CALM = dict.fromkeys("crash pause assign fail crash_all trim stall limit skew drop".split(), 0.0)
_READ_WHILE_WRITTEN = _CALM | {"elsewhere": 100, "cut": 6, "connect": 4, "fill": 30, "send": 3}
_READ_WHILE_WRITTEN |= {
    "forward": 0.05,
    "land_row": 1,
    "materialize": 12,
    "look": 3,
    "learn": 0.2,
    "claim": 0.2,
}
_READ_WHILE_WRITTEN |= {"to_device": 2, "to_server": 3, "land": 2, "read": 2}
_SLOW_HISTORY = {"elsewhere": 60, "cut": 4, "connect": 3, "fill": 20, "materialize": 0.3}
_BUSY = {"send": 6, "elsewhere": 200, "connect": 8, "materialize": 6, "forward": 0.1}
_FORKED = frozenset(
    {oracle.SWAPPED, oracle.DOUBLED, oracle.MISSING, oracle.ID_NOT_UNIQUE, oracle.STUCK}
)

ABLATIONS = [
    _ablation(
        "fence",
        (Fold, "is_fenced_in", _always),
        (Fold, "is_next", _always),
        expect=_FORKED,
        seed=86,
        weights=_HAND_OVERS,
    ),
    _ablation(
        "epoch", (Fold, "is_fenced_in", _always), expect=_FORKED, seed=3, weights=_HAND_OVERS
    ),
    _ablation(
        "number of origins",
        (Fold, "is_next", _always),
        expect=frozenset({oracle.SWAPPED, oracle.DOUBLED}),
        seed=18,
        weights=_FAILED_APPENDS,
    ),
    _ablation(
        "chain of copies",
        (Fold, "is_linked", _always),
        expect=frozenset({oracle.MISSING}),
        seed=46,
        weights=_FAILED_APPENDS,
    ),
    _ablation(
        "no copy overtakes what a lane has forgotten",
        (Lane, "takes_in", property(_always)),
        expect=frozenset({oracle.MISSING}),
        seed=4,
        weights=_SLOW_TARGETS,
    ),
    _ablation(
        "the watermark waits for what a lane has forgotten",
        (Lane, "owed_from", property(_owed_but_for_the_forgotten)),
        expect=frozenset({oracle.MISSING}),
        seed=58,
        weights=_SLOW_TARGETS,
    ),
    _ablation(
        "ack on read-back",
        (Server, "appended", _acknowledge_when_appended),
        expect=frozenset({oracle.LOST}),
        seed=43,
        weights=_HAND_OVERS,
    ),
    _ablation(
        "forward on read",
        (Server, "appended", _forward_when_appended),
        (Server, "read", _read_without_forwarding),
        expect=frozenset({oracle.MISSING, oracle.NOT_IN_HISTORY, oracle.SHOWN_TWICE}),
        seed=38,
    ),
    _ablation(
        "ids by sequence",
        (Owner, "next_stamp", _stamp_by_count),
        expect=frozenset({oracle.ID_NOT_UNIQUE, oracle.SWAPPED}),
        seed=1,
    ),
    _ablation(
        "state records",
        (World, "fold_at", _fold_by_timestamp),
        expect=frozenset({oracle.MISSING}),
        seed=27,
    ),
    _ablation(
        "pending sends de-duplicated",
        (Owner, "under_way", _never),
        expect=frozenset({oracle.DOUBLED}),
        seed=18,
    ),
    _ablation(
        "position on sends",
        (SentTable, "covers", _always),
        expect=frozenset({oracle.DOUBLED}),
        seed=96,
        weights=_REPEATS,
    ),
    _ablation(
        "frozen recipients",
        (Server, "__init__", _start_with_recipients_of_today),
        expect=frozenset({oracle.MISSING}),
        seed=4,
        weights={"member": 5, "refresh": 5},
    ),
    _ablation(
        "a failed append ends the epoch",
        (Server, "append_failed", _carry_on),
        expect=frozenset({oracle.STUCK, oracle.MISSING}),
        seed=13,
        weights={"fail": 3},
    ),
    _ablation(
        "causal stamps",
        (Fold, "top_after_copy", _top_before_copy),
        (Owner, "next_stamp", _stamp_whatever_was_seen),
        expect=frozenset({oracle.EARLY_REPLY}),
        seed=104,
    ),
    _ablation(
        "a send says what was seen",
        (Owner, "next_stamp", _stamp_whatever_was_seen),
        expect=frozenset({oracle.EARLY_REPLY}),
        seed=3,
        weights=_READ_WHILE_WRITTEN | {"skew": 10},
    ),
    _ablation(
        "history looked up after a gap",
        (Client, "fills", _fill_without_own),
        expect=frozenset({oracle.DOUBLED}),
        seed=25,
        weights={"elsewhere": 5, "cut": 3},
    ),
    _ablation(
        "the history shows nothing above what it has whole",
        (History, "shows", _always),
        expect=frozenset({oracle.HOLE}),
        seed=13,
        weights=_READ_WHILE_WRITTEN,
    ),
    _ablation(
        "a gap is filled with what it misses and no more",
        (Client, "fills", _fill_with_all),
        expect=frozenset({oracle.MISSING, oracle.SWAPPED}),
        seed=426,
        weights=_READ_WHILE_WRITTEN | _BUSY,
    ),
    _ablation(
        "a refusal stops the session",
        (Session, "refuse", _refuse_and_go_on),
        (Client, "rejected", _never),
        expect=frozenset({oracle.SWAPPED}),
        seed=1,
        weights=_REFUSALS,
    ),
    _ablation(
        "a new hello ends the older sessions of its device",
        (Server, "replace", _never),
        expect=frozenset({oracle.REFUSED_YET_ACCEPTED, oracle.SWAPPED}),
        seed=952,
        weights={
            "limit": 8,
            "cut": 5,
            "hang_up": 0.1,
            "to_server": 0.3,
            "connect": 2,
            "crash": 0.2,
        },
    ),
    _ablation(
        "a repeat is never refused",
        (Server, "receive", _refuse_before_settling),
        expect=frozenset({oracle.REFUSED_YET_ACCEPTED}),
        seed=221,
        weights={"limit": 8, "cut": 5, "land": 0.3, "connect": 2, "crash": 0.2},
    ),
    _ablation(
        "position moves in stream order",
        (Server, "appended", _acknowledge_early),
        expect=frozenset({oracle.MISSING}),
        seed=5,
    ),
    _ablation(
        "resends in order",
        (Device, "resends", _resends_newest_first),
        expect=frozenset({oracle.SWAPPED}),
        seed=2,
    ),
    _ablation(
        "a gap is told",
        (resume, "start", _resume_anywhere),
        expect=frozenset({oracle.MISSING}),
        seed=5,
        weights=_GAPS,
    ),
    _ablation(
        "a gap's token names the partition itself",
        (resume, "gap", _gap_without_its_partition),
        expect=frozenset({oracle.MISSING}),
        seed=3,
        weights=_SLOW_HISTORY,
    ),
    _ablation(
        "a resume starts above the position",
        (resume, "start", _resume_at_the_last),
        expect=frozenset({oracle.WIRE_TWICE}),
        seed=1,
    ),
    _ablation(
        "a device knows what it has shown",
        (Device, "show", _show_again),
        expect=frozenset({oracle.SHOWN_TWICE}),
        seed=0,
    ),
    _ablation(
        "what the tail lacks comes from the log",
        (Owner, "can_attach", _always),
        expect=frozenset({oracle.MISSING}),
        seed=13,
    ),
    _ablation(
        "room in the queue before replaying",
        (Session, "has_room", property(_always)),
        expect=frozenset({oracle.STUCK}),
        seed=210,
        weights={"to_device": 0.2, "send": 2},
    ),
]
