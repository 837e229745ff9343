"""The judge of a run: from the records of all clients and the final history, every broken promise.

It knows the protos and the promises, nothing of the server. It judges a run that has come to rest:
everything sent is answered, every device (but those in `absent`) is connected and caught up.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise
from typing import NamedTuple

from typing_extensions import override

from tests.support.records import (
    Acked,
    At,
    CaughtUp,
    Closed,
    Delivered,
    DeviceKey,
    Entry,
    GapFilled,
    GapTold,
    Hello,
    Message,
    Place,
    Welcomed,
    is_group,
    participants,
)
from tests.support.run import DeviceView, Key, Run

NOWHERE = At(0, -1)
History = Mapping[str, Sequence[Message]]
"""Chat id -> its messages in the order in which the pages gave them."""


class Kind(StrEnum):
    LOST_FROM_HISTORY = "an acknowledged message is not in the history"
    LOST_ON_DEVICE = "a device of a participant never got a message"
    DELIVERED_TWICE = "a device got a message twice"
    TWO_IDS = "one send became two messages"
    SHARED_ID = "two messages have one id"
    SENT_ORDER = "the ids of two messages of one device in one chat contradict the order of sending"
    ARRIVAL_ORDER = "two messages of one sender in one chat, or of one group, arrived swapped"
    ANSWER_ORDER = "an answer sorts before what its sender had already got"
    HISTORY_ORDER = "the history is not in the order of ids"
    STORED_TWICE = "the history holds a message twice"
    NOT_IN_HISTORY = "a device got a message that the history does not hold"
    VIEWS_DIFFER = "a message differs between two who saw it"
    POSITION_BACK = "a position did not move forward"
    RESUMED_ELSEWHERE = "a session started at another position than the one asked for"
    LEAKED = "a message reached somebody who is not a participant"
    WRONG_RECIPIENTS = "the recipients of a message are not the participants of its chat"
    TEXT_CHANGED = "a text differs from what was sent"
    NEVER_SENT = "a message that nobody sent"
    GAP_OPEN = "a gap was passed without being filled"
    REFUSED_YET_STORED = "a message was refused for good and accepted as well"
    UNANSWERED = "a send was never answered"
    UNEXPLAINED = "no order of what happened explains it (Porcupine)"


class Violation(NamedTuple):
    kind: Kind
    where: str
    detail: str

    @override
    def __str__(self) -> str:
        return f"{self.where}: {self.kind.value}: {self.detail}"


def judge(
    entries: Iterable[Entry], history: History, absent: Collection[DeviceKey] = ()
) -> list[Violation]:
    """Every violation in a run at rest; `absent` devices are not asked to be complete.

    Sends without an answer come first: with one, the run is not at rest, and the rest of what is
    found may follow from that.
    """
    run = Run.of(entries, history)
    found = [*_identities(run), *_history(run), *_answers(run), *_sending_order(run)]
    for view in run.devices.values():
        found += [
            *_positions(view, run),
            *_starts(view),
            *_gaps(view),
            *_arrivals(view, run),
            *_order_in_groups(view, run),
            *_repeats(view),
        ]
        if view.who not in absent:
            found += _completeness(view, run)
    return sorted(found, key=lambda violation: violation.kind is not Kind.UNANSWERED)


def _identities(run: Run) -> Iterator[Violation]:
    """One send is one id, one id is one message, and everybody shows it alike."""
    for key, ids in run.ids_of.items():
        if len(ids) > 1:
            yield Violation(Kind.TWO_IDS, _name(key), f"ids {sorted(ids)}")
    for message_id, keys in run.keys_of.items():
        if len(keys) > 1:
            yield Violation(Kind.SHARED_ID, str(message_id), ", ".join(map(_name, sorted(keys))))
    for message_id, versions in run.versions_of.items():
        if len(versions) > 1 and len(run.keys_of[message_id]) == 1:
            yield Violation(Kind.VIEWS_DIFFER, str(message_id), _listed(versions))
        for message in versions:
            yield from _against_the_send(message, run)


def _against_the_send(message: Message, run: Run) -> Iterator[Violation]:
    """What is shown is what was sent, to those for whom it was meant."""
    if message.text is None:
        return
    sent = run.sends.get(_key(message))
    if sent is None or sent.what.chat_id != message.chat_id:
        yield Violation(Kind.NEVER_SENT, _name(_key(message)), _listed([message]))
        return
    if sent.what.text is None or sent.what.text.encode() != message.text.encode():
        yield Violation(
            Kind.TEXT_CHANGED, _name(_key(message)), f"{sent.what.text!r} became {message.text!r}"
        )
    named = not is_group(message.chat_id)  # a group may be large
    others = participants(message.chat_id) - {message.user_id} if named else frozenset()
    if frozenset(message.recipient_ids) != others:
        yield Violation(Kind.WRONG_RECIPIENTS, message.chat_id, f"{message.recipient_ids}")


def _history(run: Run) -> Iterator[Violation]:
    """Each chat in the order of ids, each send once, each acknowledged message there."""
    for chat_id, rows in run.history.items():
        for before, after in pairwise(rows):
            if before.message_id > after.message_id:
                yield Violation(Kind.HISTORY_ORDER, chat_id, _listed([before, after]))
        seen: set[Key] = set()
        for row in rows:
            if row.chat_id != chat_id or row.user_id not in participants(chat_id):
                yield Violation(Kind.LEAKED, chat_id, f"its history holds {_listed([row])}")
            if _key(row) in seen:
                yield Violation(Kind.STORED_TWICE, chat_id, _listed([row]))
            seen.add(_key(row))
    for key, message_id in run.acked:
        if message_id not in run.stored:
            yield Violation(Kind.LOST_FROM_HISTORY, _name(key), f"id {message_id}")


def _answers(run: Run) -> Iterator[Violation]:
    """Each send is acknowledged, shown to its sender or refused for good, and not two of these."""
    for key, sent in run.sends.items():
        if key in run.refused:
            if key in run.ids_of:
                yield Violation(Kind.REFUSED_YET_STORED, _name(key), f"ids {run.ids_of[key]}")
        elif key not in run.devices[sent.who].answered:
            yield Violation(Kind.UNANSWERED, _name(key), f"first sent at {sent.at_s:.3f}")


def _sending_order(run: Run) -> Iterator[Violation]:
    """Ids follow the order of sending, and an answer comes after what its sender had got."""
    highest: dict[tuple[DeviceKey, str], int] = defaultdict(int)
    for key, sent in run.sends.items():
        ids = run.ids_of.get(key)
        if not ids:
            continue
        line = (sent.who, sent.what.chat_id)
        if min(ids) <= highest[line]:
            yield Violation(Kind.SENT_ORDER, _name(key), f"id {min(ids)} after id {highest[line]}")
        highest[line] = max(highest[line], max(ids))
        if min(ids) <= sent.floor:
            yield Violation(Kind.ANSWER_ORDER, _name(key), f"id {min(ids)} answers id {sent.floor}")


def _arrivals(view: DeviceView, run: Run) -> Iterator[Violation]:
    """Nothing swapped, nothing that is not for this user or not in the history."""
    highest: dict[tuple[str, str], int] = defaultdict(int)
    for message in view.arrivals:
        if view.who.user_id not in _meant_for(message):
            yield Violation(Kind.LEAKED, _name(view.who), _listed([message]))
        line = (message.user_id, message.chat_id)
        if message.message_id < highest[line]:
            yield Violation(
                Kind.ARRIVAL_ORDER, _name(view.who), f"{_listed([message])} after {highest[line]}"
            )
        highest[line] = max(highest[line], message.message_id)
        if message.text is not None and message.message_id not in run.stored:
            yield Violation(Kind.NOT_IN_HISTORY, _name(view.who), _listed([message]))


def _meant_for(message: Message) -> Collection[str]:
    if is_group(message.chat_id):
        return participants(message.chat_id)
    return {message.user_id, *message.recipient_ids}


def _order_in_groups(view: DeviceView, run: Run) -> Iterator[Violation]:
    """All that happens in a group comes in the order of ids, with what this device says; but the
    answer to a repeat may come late.
    """
    highest: dict[str, int] = defaultdict(int)
    for chat_id, message_id in _shown_first(view, run):
        if is_group(chat_id) and message_id < highest[chat_id]:
            where = f"{message_id} in {chat_id} after {highest[chat_id]}"
            yield Violation(Kind.ARRIVAL_ORDER, _name(view.who), where)
        highest[chat_id] = max(highest[chat_id], message_id)


def _shown_first(view: DeviceView, run: Run) -> Iterator[tuple[str, int]]:
    """The chats and ids of what a device was shown, without what it was shown before."""
    shown: set[int] = set()
    for entry in view.entries:
        match entry.what:
            case Delivered(_, message) if message.message_id not in shown:
                shown.add(message.message_id)
                yield message.chat_id, message.message_id
            case Acked(name, message_id, _) if message_id not in shown:
                shown.add(message_id)
                if sent := run.sends.get(Key(view.who.user_id, name)):
                    yield sent.what.chat_id, message_id
            case GapFilled(_, messages):
                shown.update(message.message_id for message in messages)
            case _:
                pass


def _repeats(view: DeviceView) -> Iterator[Violation]:
    """Nothing twice; but an ack after the delivery is the answer to a repeat."""
    shown: set[int] = set()
    for entry in view.entries:
        match entry.what:
            case Acked(_, message_id, _):
                shown.add(message_id)
            case Delivered(_, message):
                if message.message_id in shown:
                    yield Violation(Kind.DELIVERED_TWICE, _name(view.who), _listed([message]))
                shown.add(message.message_id)
            case _:
                pass


def _completeness(view: DeviceView, run: Run) -> Iterator[Violation]:
    """Everything that was stored or acknowledged after the device first came is on the device."""
    for message_id, key in run.accepted.items():
        sent = run.sends.get(key)
        if sent is None or sent.at_s < view.since_s or message_id in view.seen:
            continue
        if view.who.user_id in participants(sent.what.chat_id):
            yield Violation(Kind.LOST_ON_DEVICE, _name(view.who), f"{_name(key)}, id {message_id}")


def _positions(view: DeviceView, run: Run) -> Iterator[Violation]:
    """A position only moves forward; but the answer to a repeated send may lie behind it."""
    stands, start, log_id, asked = NOWHERE, NOWHERE, "", None
    seen: set[int] = set()
    for entry in view.entries:
        match entry.what:
            case Hello(position):
                asked = position
            case Welcomed(position, clock_ms):
                start = At(clock_ms, position.offset)
                if asked is None or asked.log_id != position.log_id:
                    stands = start
                log_id = position.log_id
            case Delivered(offset, message, clock_ms):
                at = At(clock_ms, offset)
                if not at.is_beyond(stands):
                    yield _back(view, stands, entry)
                stands = _further(stands, at)
                seen.add(message.message_id)
            case Acked(client_message_id, message_id, offset, clock_ms):
                at = At(clock_ms, offset)
                first = run.sends.get(Key(view.who.user_id, client_message_id))
                older = first is not None and first.at_s < view.since_s
                if not (at.is_beyond(stands) or message_id in seen or older):
                    yield _back(view, stands, entry)
                stands = _further(stands, at)
                seen.add(message_id)
            case CaughtUp(offset, clock_ms):
                if stands.is_beyond(at := At(clock_ms, offset)):
                    yield _back(view, stands, entry)
                stands = _further(stands, at)
            case GapTold(from_offset, to_offset):
                same_log = asked is None or asked.log_id == log_id
                forward = start._replace(offset=to_offset).is_beyond(stands)
                if same_log and (from_offset < stands.offset or not forward):
                    yield _back(view, stands, entry)
            case GapFilled(to_offset, messages):
                stands = start._replace(offset=to_offset)
                seen.update(message.message_id for message in messages)


def _further(one: At, other: At) -> At:
    return other if other.is_beyond(one) else one


def _starts(view: DeviceView) -> Iterator[Violation]:
    """A session starts at the position asked for, or a gap says at once why not."""
    asked: Place | None = None
    elsewhere: Place | None = None
    for entry in view.entries:
        match entry.what:
            case Hello(position):
                asked = position
            case Welcomed(position):
                elsewhere = position if asked not in (None, position) else None
                continue
            case GapTold(_, to_offset) if elsewhere and to_offset == elsewhere.offset:
                pass
            case Closed():
                pass
            case _ if elsewhere:
                where = f"{asked}, got {elsewhere}"
                yield Violation(Kind.RESUMED_ELSEWHERE, _name(view.who), where)
            case _:
                pass
        elsewhere = None


def _gaps(view: DeviceView) -> Iterator[Violation]:
    """After a gap nothing else happens on a connection until the history has filled it."""
    told: GapTold | None = None
    start = NOWHERE
    for entry in view.entries:
        match entry.what:
            case Welcomed(position, clock_ms):
                start = At(clock_ms, position.offset)
            case GapTold():
                told = entry.what
            case GapFilled(to_offset, _) if told and told.to_offset == to_offset:
                told = None
            case Delivered() | CaughtUp() | Acked() if told:
                yield Violation(Kind.GAP_OPEN, _name(view.who), f"{told}, then {entry.what}")
                told = None
            case Hello(position, clock_ms) if told:
                end = start._replace(offset=told.to_offset)
                if position is None or not end.is_beyond(At(clock_ms, position.offset)):
                    yield Violation(Kind.GAP_OPEN, _name(view.who), f"{told}, then {entry.what}")
                told = None
            case _:
                pass
    if told:
        yield Violation(Kind.GAP_OPEN, _name(view.who), f"{told}, then nothing")


def _back(view: DeviceView, stands: At, entry: Entry) -> Violation:
    return Violation(Kind.POSITION_BACK, _name(view.who), f"was {stands}, then {entry.what}")


def _key(message: Message) -> Key:
    return Key(message.user_id, message.client_message_id)


def _name(parts: tuple[str, str]) -> str:
    return "/".join(parts)


def _listed(messages: Iterable[Message]) -> str:
    return ", ".join(
        f"{m.message_id} ({m.user_id}/{m.client_message_id} in {m.chat_id})" for m in messages
    )
