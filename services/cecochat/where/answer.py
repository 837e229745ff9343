"""Tells where a message is, from what the log, the watermarks, the sessions and the history say.

Pure: `Facts` are gathered elsewhere, and `answer` turns them into steps in the order of the
message's path. A fact that could not be found out is None, and the step that depends on it is
`unknown`, never a guess.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple

from cecochat.domain.log.ids import UserId, time_ms
from cecochat.domain.log.place import Place as LogPlace
from cecochat.v1.events_pb2 import Event

StepState = Literal["done", "waits", "unknown", "refused"]
AnswerState = Literal["arrived", "on_its_way", "void", "in_doubt", "gone", "absent"]

HAS_IT = ("yes", "before")


class RecordPlace(NamedTuple):
    """Where a record is in the log, and when it was appended, by the log's own clock."""

    partition: int
    offset: int
    at_ms: int


class LiveSession(NamedTuple):
    """A live session.

    - `position`: the offset up to which it has been served.
    - `began_at`: the offset at which it began.
    - `began`: how it began: `resumed`, `live`, or after a `gap`.
    - `queued_bytes`: what its client has not read yet.
    """

    session_id: str
    device: str
    position: int
    began_at: int
    began: str
    queued_bytes: int


class Owner(NamedTuple):
    """The server whose takeover of a partition was the last, and how far it has read.

    A field is None if it is not known: the log no longer says, or the server does not answer.
    """

    server_id: str | None
    live: bool
    read_to: int | None = None  # it has read the partition to below this offset


@dataclass(frozen=True, slots=True)
class Recipient:
    """One recipient of the message."""

    user_id: UserId
    partition: int
    owner: Owner
    devices: tuple[LiveSession, ...] | None  # None if they are not known
    forwarded: bool
    copy: RecordPlace | None  # None if it is not there yet, or is no longer in the log
    delivered_up_to: int | None  # from receipts in the history; None if that does not answer
    read_up_to: int | None
    hidden: bool = False  # whether the devices are kept from whoever asks


@dataclass(frozen=True, slots=True)
class Record:
    """The origin record of the message, and whether it counts, or may have done so before."""

    place: RecordPlace
    epoch: LogPlace
    number: int
    server_id: str | None  # whose takeover began that epoch; None if the log has dropped it
    counts: bool
    epoch_in_force: LogPlace  # the epoch at the offset of the record
    server_in_force: str | None
    traceparent: str | None
    in_doubt: bool = False


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known about a message."""

    message_id: int
    event: Event | None
    record: Record | None  # None if the log does not hold it
    kept: bool  # whether the log reaches back far enough to hold it
    owner: Owner  # the owner of the sender's partition
    forwarded_to: int  # the watermark: below this offset, all copies are written
    receivers: tuple[Recipient, ...]
    materialized_to: int | None  # the highest offset in the history, or -1; None without an answer
    row: bool | None  # whether the history has it; None if it was not asked or did not answer
    row_at_ms: int | None  # when it was first written there; None if that is not recorded


class Step(NamedTuple):
    """One step of the path. `subject` tells apart steps of the same name, such as `to bob`."""

    name: str
    state: StepState
    subject: str
    at_ms: int | None
    text: str
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer: the verdict, and the steps in order."""

    message_id: int
    state: AnswerState
    event: Event | None
    trace_id: str | None
    steps: tuple[Step, ...]

    @property
    def waits_for(self) -> list[str]:
        """The names of the steps that come next."""
        return [_named(step) for step in self.steps if step.state == "waits"]


def seen_by(facts: Facts, user_id: UserId) -> Facts:
    """Leave out what a participant may not know, which is where the others are connected."""
    receivers = [
        each if each.user_id == user_id else replace(each, devices=None, hidden=True)
        for each in facts.receivers
    ]
    return replace(facts, receivers=tuple(receivers))


def answer(facts: Facts) -> Answer:
    """Return the path of the message, as far as it has come."""
    record = facts.record
    if record is None or facts.event is None:
        return _without_record(facts)
    trace_id = trace_id_in(record.traceparent)
    accepted = _accepted(record)
    if not record.counts:
        void: AnswerState = "in_doubt" if record.in_doubt else "void"
        return Answer(facts.message_id, void, facts.event, trace_id, (accepted,))
    steps = (
        accepted,
        _acknowledged(record, facts),
        *_forwarded(record, facts),
        *(_delivered(facts.message_id, receiver) for receiver in facts.receivers),
        _materialized(record, facts),
    )
    return Answer(facts.message_id, _verdict(steps), facts.event, trace_id, steps)


def _verdict(steps: tuple[Step, ...]) -> AnswerState:
    return "arrived" if all(step.state == "done" for step in steps) else "on_its_way"


def _named(step: Step) -> str:
    return f"{step.name} {step.subject}".rstrip()


def trace_id_in(traceparent: str | None) -> str | None:
    """Return the trace id of a `traceparent` (W3C Trace Context), or None if there is none."""
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
    if record.in_doubt:
        why = f"written by {by}, after records that are hidden: {where}"
        return Step("accepted", "unknown", "", place.at_ms, why, facts)
    if not record.epoch.is_same(record.epoch_in_force):
        why = (
            f"written by {by}, an owner that was fenced off: {record.server_in_force or 'another'} "
            f"had taken over at offset {record.epoch_in_force.offset}"
        )
    else:
        why = f"written by {by} after a record that failed"
    return Step("accepted", "refused", "", place.at_ms, f"not accepted, {why}: {where}", facts)


def _acknowledged(record: Record, facts: Facts) -> Step:
    """Return the owner acknowledges what it reads back, and forwards only what it has read."""
    owner, offset = facts.owner, record.place.offset
    told = {"server_id": owner.server_id, "read_to": owner.read_to}
    read = owner.read_to is not None and owner.read_to > offset
    forwarded = facts.forwarded_to > offset or any(each.forwarded for each in facts.receivers)
    if read or forwarded:
        return Step("acknowledged", "done", "", None, "its owner has read it back", told)
    if owner.read_to is not None:
        text = f"{owner.server_id} has read the partition to below offset {owner.read_to}"
        return Step("acknowledged", "waits", "", None, text, told)
    why = f"{owner.server_id} does not answer" if owner.live else _nobody_owns(owner)
    return Step("acknowledged", "unknown", "", None, why, told)


def _nobody_owns(owner: Owner) -> str:
    return (
        f"its owner {owner.server_id} is not live" if owner.server_id else "the log names no owner"
    )


def _forwarded(record: Record, facts: Facts) -> Iterator[Step]:
    """Each partition with recipients gets one copy, for all of them."""
    by_partition: dict[int, list[Recipient]] = {}
    for receiver in facts.receivers:
        by_partition.setdefault(receiver.partition, []).append(receiver)
    for partition, receivers in by_partition.items():
        yield _forwarded_to(partition, receivers, record, facts)


def _forwarded_to(partition: int, receivers: list[Recipient], record: Record, facts: Facts) -> Step:
    users, copy = [each.user_id for each in receivers], receivers[0].copy
    told = {
        "partition": partition,
        "users": users,
        "offset": copy.offset if copy else None,
        "forwarded_to": facts.forwarded_to,
    }
    subject = f"to partition {partition}"
    if copy == record.place:
        text = f"no copy is needed: the record itself is for {', '.join(users)}"
        return Step("forwarded", "done", subject, None, text, told)
    if copy:
        text = f"offset {copy.offset}, for {', '.join(users)}"
        return Step("forwarded", "done", subject, copy.at_ms, text, told)
    if receivers[0].forwarded:
        text = "its copy counted, but is no longer in the log"
        return Step("forwarded", "done", subject, None, text, told)
    owner = facts.owner
    by = f"{owner.server_id or 'nobody'}, {'live' if owner.live else 'not live'}"
    text = (
        f"for the owner of partition {record.place.partition} ({by}) to append it; everything "
        f"below offset {facts.forwarded_to} there has been forwarded"
    )
    return Step("forwarded", "waits", subject, None, text, told)


def _delivered(message_id: int, receiver: Recipient) -> Step:
    """A session or a receipt is enough to show that a message was delivered."""
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


def _shown(receiver: Recipient, device: LiveSession) -> dict[str, Any]:
    return {**device._asdict(), "has_it": _has(receiver, device)}


def _reached(message_id: int, receiver: Recipient) -> tuple[StepState, str]:
    said = _receipts(message_id, receiver)
    if not receiver.forwarded:
        return ("done", said) if said else ("waits", "for its copy")
    sessions = [_session(receiver, each) for each in receiver.devices or ()]
    text = "; ".join([*sessions, *([said] if said else [])])
    if said or any(_has(receiver, each) in HAS_IT for each in receiver.devices or ()):
        return "done", text
    if receiver.devices is None:
        return _unseen(receiver)
    return "waits", text or (
        f"for {receiver.user_id} to connect: there is no live session and no receipt"
    )


def _unseen(receiver: Recipient) -> tuple[StepState, str]:
    owner = receiver.owner
    if receiver.hidden:
        return "waits", f"for a receipt of {receiver.user_id}"
    if not owner.live:
        return "waits", f"for an owner of partition {receiver.partition}: {_nobody_owns(owner)}"
    return "unknown", f"{receiver.user_id} has sent no receipt, and its sessions are not known"


def _receipts(message_id: int, receiver: Recipient) -> str:
    if (receiver.read_up_to or 0) >= message_id:
        return "a receipt says: read"
    if (receiver.delivered_up_to or 0) >= message_id:
        return "a receipt says: delivered"
    return ""


def _has(receiver: Recipient, device: LiveSession) -> str:
    """Whether a session has the message.

    - `yes`, `queued` or `not_yet`: as its position says.
    - `before`: its client had it before it connected.
    - `not_asked`: the session began live, after the message.
    - `gap`: the client was told to read the history.
    - `unknown`: the copy is no longer in the log.
    """
    if receiver.copy is None:
        return "unknown"
    offset = receiver.copy.offset
    if device.position < offset:
        return "not_yet"
    if device.began_at >= offset:
        return {"resumed": "before", "gap": "gap"}.get(device.began, "not_asked")
    return "queued" if device.queued_bytes else "yes"


def _session(receiver: Recipient, device: LiveSession) -> str:
    name = f"{device.session_id} ({device.device})" if device.device else device.session_id
    says = {
        "yes": "has it",
        "queued": f"was given it, and {device.queued_bytes} bytes wait for its client to read",
        "before": "had it before it connected",
        "not_asked": "began live after it: the history shows it",
        "gap": "was told to read it from the history",
        "not_yet": f"has only been served up to offset {device.position}",
        "unknown": "is connected, but the log no longer holds the copy to compare with",
    }
    return f"{name} {says[_has(receiver, device)]}"


def _materialized(record: Record, facts: Facts) -> Step:
    up_to, place = facts.materialized_to, record.place
    told = {"partition": place.partition, "up_to": up_to, "row": facts.row}
    if up_to is None:
        return Step("materialized", "unknown", "", None, "the history does not answer", told)
    held = f"the history holds partition {place.partition} up to offset {up_to}"
    if facts.row or (facts.row is None and up_to >= place.offset):
        by_now = "" if facts.row_at_ms else "by now, "
        return Step("materialized", "done", "", facts.row_at_ms, by_now + held, told)
    if up_to >= place.offset:
        text = f"{held}, but lacks this message: see `cecochat holes list`"
        return Step("materialized", "unknown", "", None, text, told)
    lag = place.offset - up_to
    text = f"for materialize: {held}, {lag} behind" if up_to >= 0 else "for materialize to begin"
    return Step("materialized", "waits", "", None, text, told)


def _without_record(facts: Facts) -> Answer:
    """Answer for a message that the log does not hold; the history may still hold it."""
    steps: tuple[Step, ...] = ()
    if facts.kept:
        return Answer(facts.message_id, "absent", None, None, steps)
    if facts.event is not None:
        at_ms = time_ms(facts.message_id)
        accepted = "its record is no longer in the log; the time is taken from its id"
        steps = (
            Step("accepted", "done", "", at_ms, accepted, {"server_id": None}),
            *(_delivered(facts.message_id, receiver) for receiver in facts.receivers),
            Step(
                "materialized", "done", "", facts.row_at_ms, "the history holds it", {"row": True}
            ),
        )
    return Answer(facts.message_id, "gone", facts.event, None, steps)


def as_json(answer_: Answer) -> dict[str, Any]:
    """Return the answer for programs. Ids are strings, because JavaScript rounds 64-bit numbers."""
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
        "state": answer_.state,
        "waits_for": answer_.waits_for,
        "trace_id": answer_.trace_id,
        "event": about,
        "steps": [step._asdict() for step in answer_.steps],
    }
