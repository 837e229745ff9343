"""Where one message is: what the log, the watermarks, the sessions and the history say about it,
put in the order of its path.

Pure: `Facts` are gathered elsewhere, and `answer` makes of them what a person is told. A fact that
could not be had is None, and what follows from it is `unknown`, never guessed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.place import Place as LogPlace
from cecochat.v1.events_pb2 import Event

StepState = Literal["done", "waits", "unknown", "refused"]
Verdict = Literal["arrived", "on_its_way", "void", "gone", "absent"]

HAS_IT = ("yes", "before")


class Place(NamedTuple):
    """A record in the log; `at_ms` by the log's own clock."""

    partition: int
    offset: int
    at_ms: int


class Device(NamedTuple):
    """A live session: where it stands, where and how it began (`resumed` from what it knew, `live`,
    or behind a `gap`), and what waits to be read by its client.
    """

    session_id: str
    device: str
    position: int
    began_at: int
    began: str
    queued_bytes: int


class Owner(NamedTuple):
    """Whose takeover of a partition was the last, and how far that server has read it. None: not
    known, since the log no longer says, or the server does not answer.
    """

    server_id: str | None
    live: bool
    read_to: int | None = None  # below this offset


@dataclass(frozen=True, slots=True)
class Receiver:
    """One recipient. `devices` None: not known; `hidden`: not for who asks."""

    user_id: str
    partition: int
    owner: Owner
    devices: tuple[Device, ...] | None
    forwarded: bool
    copy: Place | None  # None: not there yet, or dropped since
    delivered_up_to: int | None  # its receipts in the history; None: that does not answer
    read_up_to: int | None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """The origin record."""

    place: Place
    epoch: LogPlace
    number: int
    server_id: str | None  # whose takeover began that epoch; None: dropped since
    counts: bool
    epoch_in_force: LogPlace  # where the record lies
    server_in_force: str | None
    traceparent: str | None


@dataclass(frozen=True, slots=True)
class Facts:
    """`record` None: the log does not hold it; `kept`: it reaches back far enough to hold it."""

    message_id: int
    event: Event | None
    record: Record | None
    kept: bool
    owner: Owner  # of the sender's partition
    forwarded_to: int  # the watermark: below this offset, all copies are written
    receivers: tuple[Receiver, ...]
    materialized_to: int | None  # the highest offset in the history, -1: none; None: no answer
    row: bool | None  # whether the history has it; None: not asked, or no answer
    row_at_ms: int | None  # when it was first written there; None: not kept


class Step(NamedTuple):
    """One step of the path; `subject`: whom or what it is about, where there are several."""

    name: str
    state: StepState
    subject: str
    at_ms: int | None
    text: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """What is told."""

    message_id: int
    verdict: Verdict
    event: Event | None
    trace_id: str | None
    steps: tuple[Step, ...]

    @property
    def waits_for(self) -> list[str]:
        """The steps that are next: nothing behind them can be done before."""
        return [_named(step) for step in self.steps if step.state == "waits"]


def seen_by(facts: Facts, user_id: str) -> Facts:
    """What a participant may know: where others are connected is not among it."""
    receivers = [
        each if each.user_id == user_id else replace(each, devices=None, hidden=True)
        for each in facts.receivers
    ]
    return replace(facts, receivers=tuple(receivers))


def answer(facts: Facts) -> Answer:
    """The path of the message, as far as it has come."""
    record = facts.record
    if record is None or facts.event is None:
        return _without_record(facts)
    trace_id = trace_of(record.traceparent)
    accepted = _accepted(record)
    if not record.counts:
        return Answer(facts.message_id, "void", facts.event, trace_id, (accepted,))
    steps = (
        accepted,
        _acknowledged(record, facts),
        *_forwarded(record, facts),
        *(_delivered(facts.message_id, receiver) for receiver in facts.receivers),
        _materialized(record, facts),
    )
    return Answer(facts.message_id, _verdict(steps), facts.event, trace_id, steps)


def _verdict(steps: tuple[Step, ...]) -> Verdict:
    return "arrived" if all(step.state == "done" for step in steps) else "on_its_way"


def _named(step: Step) -> str:
    return f"{step.name} {step.subject}".rstrip()


def trace_of(traceparent: str | None) -> str | None:
    """The trace id of a `traceparent` (W3C trace context); None: there is none."""
    parts = (traceparent or "").split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or set(parts[1]) - set("0123456789abcdef"):
        return None
    return parts[1]


def _accepted(record: Record) -> Step:
    place, by = record.place, record.server_id or "a server that the log no longer names"
    facts = {
        "partition": place.partition,
        "offset": place.offset,
        "epoch": record.epoch.offset,
        "number": record.number,
        "server_id": record.server_id,
    }
    where = f"partition {place.partition}, offset {place.offset}"
    if record.counts:
        return Step("accepted", "done", "", place.at_ms, f"by {by}: {where}", facts)
    if not record.epoch.is_same(record.epoch_in_force):
        why = (
            f"written by {by}, a fenced owner: {record.server_in_force or 'another'} had taken "
            f"over at offset {record.epoch_in_force.offset}"
        )
    else:
        why = f"written by {by} behind one that failed"
    return Step("accepted", "refused", "", place.at_ms, f"not accepted, {why}: {where}", facts)


def _acknowledged(record: Record, facts: Facts) -> Step:
    """The owner acknowledges what it reads back; what it forwards, it has read."""
    owner, offset = facts.owner, record.place.offset
    told = {"server_id": owner.server_id, "read_to": owner.read_to}
    read = owner.read_to is not None and owner.read_to > offset
    forwarded = facts.forwarded_to > offset or any(each.forwarded for each in facts.receivers)
    if read or forwarded:
        return Step("acknowledged", "done", "", None, "its owner has read it back", told)
    if owner.read_to is not None:
        text = f"{owner.server_id} has read the partition to below offset {owner.read_to}"
        return Step("acknowledged", "waits", "", None, text, told)
    why = f"{owner.server_id} does not answer" if owner.live else f"no owner lives: {_who(owner)}"
    return Step("acknowledged", "unknown", "", None, why, told)


def _who(owner: Owner) -> str:
    return f"{owner.server_id} does not" if owner.server_id else "the log names none"


def _forwarded(record: Record, facts: Facts) -> Iterator[Step]:
    """One copy a partition, for all of its recipients."""
    by_partition: dict[int, list[Receiver]] = {}
    for receiver in facts.receivers:
        by_partition.setdefault(receiver.partition, []).append(receiver)
    for partition, receivers in by_partition.items():
        yield _forwarded_to(partition, receivers, record, facts)


def _forwarded_to(partition: int, receivers: list[Receiver], record: Record, facts: Facts) -> Step:
    users, copy = [each.user_id for each in receivers], receivers[0].copy
    told = {
        "partition": partition,
        "users": users,
        "offset": copy.offset if copy else None,
        "forwarded_to": facts.forwarded_to,
    }
    subject = f"to partition {partition}"
    if copy:
        text = f"offset {copy.offset}, for {', '.join(users)}"
        return Step("forwarded", "done", subject, copy.at_ms, text, told)
    if receivers[0].forwarded:
        text = "its copy counted, and is no longer in the log"
        return Step("forwarded", "done", subject, None, text, told)
    owner = facts.owner
    by = f"{owner.server_id or 'nobody'}, {'live' if owner.live else 'not live'}"
    text = (
        f"for the owner of partition {record.place.partition} ({by}) to append it; all below "
        f"offset {facts.forwarded_to} there is forwarded"
    )
    return Step("forwarded", "waits", subject, None, text, told)


def _delivered(message_id: int, receiver: Receiver) -> Step:
    """What the sessions and the receipts say together: either is enough."""
    devices = receiver.devices
    told = {
        "user": receiver.user_id,
        "server_id": receiver.owner.server_id,
        "read_to": receiver.owner.read_to,
        "delivered_up_to": _text(receiver.delivered_up_to),
        "read_up_to": _text(receiver.read_up_to),
        "sessions": None if devices is None else [_shown(receiver, each) for each in devices],
    }
    state, text = _reached(message_id, receiver)
    return Step("delivered", state, f"to {receiver.user_id}", None, text, told)


def _text(mark: int | None) -> str | None:
    return None if mark is None else str(mark)


def _shown(receiver: Receiver, device: Device) -> dict[str, Any]:
    return {**device._asdict(), "has_it": _has(receiver, device)}


def _reached(message_id: int, receiver: Receiver) -> tuple[StepState, str]:
    said = _receipts(message_id, receiver)
    if not receiver.forwarded:
        return ("done", said) if said else ("waits", "for its copy")
    sessions = [_session(receiver, each) for each in receiver.devices or ()]
    text = "; ".join([*sessions, *([said] if said else [])])
    if said or any(_has(receiver, each) in HAS_IT for each in receiver.devices or ()):
        return "done", text
    if receiver.devices is None:
        return _unseen(receiver)
    return "waits", text or f"for {receiver.user_id} to connect: no live session, no receipt"


def _unseen(receiver: Receiver) -> tuple[StepState, str]:
    owner = receiver.owner
    if receiver.hidden:
        return "waits", f"for a receipt of {receiver.user_id}"
    if not owner.live:
        return "waits", f"for an owner of partition {receiver.partition}: {_who(owner)} live"
    return "unknown", f"{receiver.user_id} has sent no receipt, and its sessions are not known"


def _receipts(message_id: int, receiver: Receiver) -> str:
    if (receiver.read_up_to or 0) >= message_id:
        return "a receipt says: read"
    if (receiver.delivered_up_to or 0) >= message_id:
        return "a receipt says: delivered"
    return ""


def _has(receiver: Receiver, device: Device) -> str:
    """`yes`, `queued`, `before` (its client came with a position behind it), `not_asked` (it began
    live behind it), `gap` (it was told to read the history), `not_yet`; `unknown`: the copy is
    dropped.
    """
    if receiver.copy is None:
        return "unknown"
    offset = receiver.copy.offset
    if device.position < offset:
        return "not_yet"
    if device.began_at >= offset:
        return {"resumed": "before", "gap": "gap"}.get(device.began, "not_asked")
    return "queued" if device.queued_bytes else "yes"


def _session(receiver: Receiver, device: Device) -> str:
    name = f"{device.session_id} ({device.device})" if device.device else device.session_id
    says = {
        "yes": "has it",
        "queued": f"was given it, and {device.queued_bytes} bytes wait for its client to read",
        "before": "came with a position behind it: its client had it",
        "not_asked": "began live behind it: the history shows it",
        "gap": "was told to read it from the history",
        "not_yet": f"stands at offset {device.position}",
        "unknown": "is connected, and the copy is no longer in the log to compare with",
    }
    return f"{name} {says[_has(receiver, device)]}"


def _materialized(record: Record, facts: Facts) -> Step:
    up_to, place = facts.materialized_to, record.place
    told = {"partition": place.partition, "up_to": up_to, "row": facts.row}
    if up_to is None:
        text = "the history database does not answer"
        return Step("materialized", "unknown", "", None, text, told)
    held = f"the history holds partition {place.partition} up to offset {up_to}"
    if facts.row or (facts.row is None and up_to >= place.offset):
        by_now = "" if facts.row_at_ms else "by now: "
        return Step("materialized", "done", "", facts.row_at_ms, by_now + held, told)
    if up_to >= place.offset:
        text = f"{held}, and this row is not in it: see `cecochat holes list`"
        return Step("materialized", "unknown", "", None, text, told)
    lag = place.offset - up_to
    text = f"for materialize: {held}, {lag} behind" if up_to >= 0 else "for materialize to begin"
    return Step("materialized", "waits", "", None, text, told)


def _without_record(facts: Facts) -> Answer:
    """The log does not hold it, whether or not the history does."""
    steps: tuple[Step, ...] = ()
    if facts.kept:
        return Answer(facts.message_id, "absent", None, None, steps)
    if facts.event is not None:
        at_ms = time_ms(facts.message_id)
        accepted = "its record is no longer in the log; the time is that in its id"
        steps = (
            Step("accepted", "done", "", at_ms, accepted, {"server_id": None}),
            *(_delivered(facts.message_id, receiver) for receiver in facts.receivers),
            Step(
                "materialized", "done", "", facts.row_at_ms, "the history holds it", {"row": True}
            ),
        )
    return Answer(facts.message_id, "gone", facts.event, None, steps)


def as_json(answer_: Answer) -> dict[str, Any]:
    """For programs; message ids are strings, as JavaScript loses 64-bit numbers."""
    event = answer_.event
    about = event and {
        "user_id": event.user_id,
        "chat_id": event.chat_id,
        "client_message_id": event.client_message_id,
        "recipient_ids": list(event.recipient_ids),
        "kind": event.WhichOneof("body"),
    }
    return {
        "message_id": str(answer_.message_id),
        "state": answer_.verdict,
        "waits_for": answer_.waits_for,
        "trace_id": answer_.trace_id,
        "event": about,
        "steps": [step._asdict() for step in answer_.steps],
    }
