"""The judge: which promises are broken, going by what devices saw on the wire and showed, and by
what the history holds.

It knows nothing of owners, sessions or positions beyond what a frame says.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from cecochat.domain.log.ids import time_ms
from cecochat.domain.log.limits import CLOCKS_APART_MAX_MS
from tests.sim.evidence import (
    Acknowledgement,
    CallRecord,
    Change,
    Delivery,
    DeviceRecord,
    Evidence,
    GapTold,
    Resumed,
    Row,
    Shown,
    View,
)
from tests.sim.recount import Recount
from tests.sim.shape import GROUP

LOST = "acknowledged message lost"
DOUBLED = "second message from one send"
ID_NOT_UNIQUE = "id not unique"
NOT_IN_HISTORY = "device saw what history lacks"
SHOWN_TWICE = "device shows a message twice"
WIRE_TWICE = "message twice on the wire"
SWAPPED = "two messages of one sender swapped"
MISSING = "device misses a message"
EARLY_REPLY = "reply sorts before what its sender had seen"
STUCK = "stuck"
REFUSED_YET_ACCEPTED = "refused, yet accepted"
HISTORY_WRONG = "history is not what the log says"
HOLE = "a later message of a sender read without an earlier one"
UNTOLD = "a page lacks a message and does not say so"
FALSE_ALARM = "an audit calls missing what is on its way"
NEEDLESS_GAP = "gap where the log has all"
WIRE_BACKWARDS = "offsets go backwards on the wire"
LEAKED = "somebody gets what is not for them"
SENT_AWAY = "a device has to come back for nothing"
UNACKNOWLEDGED = "a stream is not told that its send was taken"
FAR_AHEAD = "id far ahead of its time"
DISAGREE = "servers follow different assignments"
SILENT = "history lacks what a log has dropped or lost, and does not say so"
TOLD_AGAIN = "more holes than ends that were lost"
DIVERGED = "a message is not what its changes say"
EXCEPTION = "exception"


class Broken(NamedTuple):
    """A broken promise."""

    kind: str
    detail: str


def judge(evidence: Evidence) -> list[Broken]:
    """Every broken promise."""
    if not evidence.quiet:
        return [Broken(STUCK, "does not come to rest")]
    if not evidence.agrees:
        return [Broken(DISAGREE, "and nothing mends it")]
    broken = list(_losses(evidence))
    _excuse(evidence)
    history: dict[tuple[str, int], list[Row]] = defaultdict(list)
    for row in sorted(evidence.kept | evidence.lost):
        history[row.sender, row.number].append(row)
    broken += [*_history(evidence), *_ids(evidence), *_looks(evidence)]
    false = [row for row in evidence.alarms if row not in evidence.lost]
    broken += [Broken(FALSE_ALARM, f"{row} was called missing") for row in false]
    broken += _times(evidence)
    broken += [Broken(SENT_AWAY, name) for name in evidence.sent_away]
    broken += [Broken(UNACKNOWLEDGED, number) for number in evidence.unacknowledged]
    broken += _changed(evidence)
    broken += [each for call in evidence.calls for each in _called(call, history, evidence)]
    for device in evidence.devices:
        broken += _sends(device, history, evidence.lost)
        broken += _wire(device)
        broken += _shown(device, history, evidence)
    return broken


def _losses(evidence: Evidence) -> Iterator[Broken]:
    """What was acknowledged and is gone with the end of a log is told, by one hole a loss."""
    for detail in evidence.told_too_often:
        yield Broken(TOLD_AGAIN, detail)
    wires = [item for device in evidence.devices for item in device.wire]
    acked = {item.id for item in wires if isinstance(item, Acknowledgement)}
    for row in evidence.taken - evidence.kept:
        if row.id in acked and not any(each.has(row) for each in evidence.ranges):
            yield Broken(SILENT, f"{row}")


def _excuse(evidence: Evidence) -> None:
    """Leave out what a log has lost, wherever it was seen."""
    lost = evidence.loss.ids
    evidence.history = {row for row in evidence.history if row.id not in lost}
    evidence.holes = {row for row in evidence.holes if row.id not in lost}
    evidence.gone = {row for row in evidence.gone if row.id not in lost}
    for device in evidence.devices:
        device.missed = {id_ for user, id_ in evidence.loss.copies if user == device.user}
        device.shown = [each for each in device.shown if each.id not in lost]
        device.wire = [item for item in device.wire if getattr(item, "id", 0) not in lost]


History = dict[tuple[str, int], list[Row]]


def _history(evidence: Evidence) -> Iterator[Broken]:
    kept = evidence.kept
    for row in evidence.lost:
        if not any(each.has(row) for each in evidence.ranges):
            yield Broken(SILENT, f"{row}")
    if evidence.valid is not None and evidence.valid != kept | evidence.lost:
        yield Broken(HISTORY_WRONG, f"differs in {sorted(evidence.valid ^ kept ^ evidence.lost)}")
    for key, times in Counter((row.sender, row.number) for row in kept).items():
        if times > 1:
            yield Broken(DOUBLED, f"{key} is in the history {times} times")


def _looks(evidence: Evidence) -> Iterator[Broken]:
    """Of each sender, a page shows all messages between its first and its last."""
    for user, chat, ids, told in set(evidence.looks):
        rows = [r for r in evidence.history if r.chat == chat and user in (r.sender, *r.recipients)]
        for sender in {row.sender for row in rows}:
            all_ids = {row.id for row in rows if row.sender == sender}
            shown = all_ids.intersection(ids)
            hidden = [id_ for id_ in all_ids - shown if shown and ids[0] <= id_ < max(shown)]
            if hidden:
                yield Broken(HOLE, f"{chat}: {sorted(shown)} without {sorted(hidden)}")
            missing = {row.id for row in evidence.holes if (row.chat, row.sender) == (chat, sender)}
            if untold := [id_ for id_ in missing - told if shown and min(shown) < id_ < max(shown)]:
                yield Broken(UNTOLD, f"{chat}: {sorted(shown)} without {untold}")


def _times(evidence: Evidence) -> Iterator[Broken]:
    """An id of ten years ahead would take all later ones with it."""
    for row in evidence.history:
        if evidence.now_ms and time_ms(row.id) > evidence.now_ms + CLOCKS_APART_MAX_MS:
            yield Broken(FAR_AHEAD, f"{row}")


def _changed(evidence: Evidence) -> Iterator[Broken]:
    """A device shows messages with the changes that it has shown, and maybe with others that it
    has read in the history.
    """
    changes: dict[int, list[Change]] = defaultdict(list)
    for change in evidence.changes:
        changes[change.message_id].append(change)
    rows = {row.id: row for row in evidence.kept | evidence.lost}
    judged = [
        (rows[id_], changes[id_])
        for id_ in rows.keys() - evidence.loss.changed
        if not _is_unclear(rows[id_].chat, evidence)
    ]
    for row, of_row in judged:
        for device in evidence.devices:
            if any((each.id, device.user) in evidence.told for each in of_row):
                continue  # it may have got an edit without the deletion that took its text
            shown, now = {each.id for each in device.shown}, device.messages.get(row.id)
            if now and not Recount(row, of_row, shown, evidence.admins).allows(now):
                yield Broken(DIVERGED, f"{device.name}: {row} is {now}")
    yield from _views(evidence, judged)


def _views(evidence: Evidence, judged: list[tuple[Row, list[Change]]]) -> Iterator[Broken]:
    """The history shows all changes that it has; to who has left the group, deletions alone of the
    later ones. What was gone may have landed after all.
    """
    views: dict[int, list[View]] = defaultdict(list)
    for view in evidence.views:
        views[view.message_id].append(view)
    known, gone = ({row.id for row in rows} for rows in (evidence.history, evidence.gone))
    for row, changes in judged:
        for user, _, now in views[row.id]:
            left_at = evidence.left.get(user) if row.chat == GROUP else None
            seen = [
                each
                for each in changes
                if left_at is None or each.id <= left_at or each.kind == "deletion"
                if each.id in known | gone
            ]
            if not Recount(row, seen, known, evidence.admins).allows(now):
                yield Broken(DIVERGED, f"{user} reads: {row} is {now}")


def _ids(evidence: Evidence) -> Iterator[Broken]:
    meaning: dict[int, set[tuple[str, int]]] = defaultdict(set)
    for row in evidence.history:
        meaning[row.id].add((row.sender, row.number))
    for device in evidence.devices:
        for message in _everything(device):
            meaning[message.id].add((message.sender, message.number))
    for id_, keys in sorted(meaning.items()):
        if len(keys) > 1:
            yield Broken(ID_NOT_UNIQUE, f"{id_} means {sorted(keys)}")


def _everything(device: DeviceRecord) -> Iterator[Shown]:
    yield from device.shown
    for item in device.wire:
        if isinstance(item, Delivery):
            yield Shown(item.sender, item.number, item.chat, item.id)
        elif isinstance(item, Acknowledgement):
            yield Shown(device.user, item.number, "", item.id)


def _sends(device: DeviceRecord, history: History, lost: set[Row]) -> Iterator[Broken]:
    if device.unanswered:
        yield Broken(STUCK, f"{device.name} never got an answer for {sorted(device.unanswered)}")
    acked = {item.number for item in device.wire if isinstance(item, Acknowledgement)}
    acked |= {each.number for each in device.shown if each.sender == device.user}
    highest: dict[str, int] = defaultdict(int)
    for number, chat, seen_id in device.sends:
        rows = history.get((device.user, number), [])
        if number in device.rejected and not lost.issuperset(rows):
            yield Broken(REFUSED_YET_ACCEPTED, f"{device.name}: {number} is in the history")
        if number in acked and not rows:
            yield Broken(LOST, f"{device.name}: {number} was acknowledged")
        for row in [] if lost.intersection(rows) else rows:
            if row.id < highest[chat]:
                yield Broken(
                    SWAPPED, f"{device.name} sent {number} in {chat} after {highest[chat]}"
                )
            highest[chat] = max(highest[chat], row.id)
            if row.id <= seen_id:
                yield Broken(EARLY_REPLY, f"{device.name}: {number} has {row.id}, saw {seen_id}")


def _called(call: CallRecord, history: History, evidence: Evidence) -> Iterator[Broken]:
    """What was answered is there. An answer may be lost of what was accepted all the same."""
    rows = history.get((call.sender, call.number), [])
    if not (call.id or call.refused or call.unclear):
        yield Broken(STUCK, f"{call} never got an answer")
    if call.id and call.id not in evidence.loss.ids and call.id not in [row.id for row in rows]:
        yield Broken(LOST, f"{call} was answered")
    if call.refused and rows and not call.hurries:
        yield Broken(REFUSED_YET_ACCEPTED, f"{call} is in the history")


def _wire(device: DeviceRecord) -> Iterator[Broken]:
    ids: dict[int, int] = {}  # -> at which offset it came
    repeatable: set[int] = set()
    highest: dict[tuple[str, str], int] = defaultdict(int)
    offset, before_gap = -1, -1
    for item in device.wire:
        match item:
            case Resumed():  # with a gap that is not filled, from where it was before
                offset = max(before_gap, item.offset) if item.offset < offset else offset
            case GapTold():  # to below where it was, if that end of the log is lost
                repeatable |= {id_ for id_, at in ids.items() if at > item.offset}
                before_gap, offset = offset, item.offset
                if not device.gap_expected:
                    yield Broken(NEEDLESS_GAP, f"{device.name}: {item}")
            case Delivery():
                again = item.id in device.missed | device.brought_again | repeatable
                if item.id in ids and not again:
                    yield Broken(WIRE_TWICE, f"{device.name}: {item}")
                ids[item.id] = item.offset
                repeatable.discard(item.id)
                if item.offset <= offset:
                    yield Broken(WIRE_BACKWARDS, f"{device.name}: {item} after {offset}")
                offset = before_gap = item.offset
                chain = (item.sender, item.chat)
                if item.id < highest[chain] and not again:
                    yield Broken(SWAPPED, f"{device.name}: {item} after {highest[chain]}")
                highest[chain] = item.id
            case Acknowledgement():  # a repeated one has the offset of its record: passed, maybe
                offset = before_gap = max(offset, item.offset)
                ids[item.id] = item.offset


def _shown(device: DeviceRecord, history: History, evidence: Evidence) -> Iterator[Broken]:
    lost = evidence.lost
    lost_ids = {row.id for row in lost}
    seen = Counter((each.sender, each.number) for each in device.shown)
    there = [each for each in device.shown if each.id not in lost_ids]
    for key, times in Counter((each.sender, each.number) for each in there).items():
        if times > 1:
            yield Broken(SHOWN_TWICE, f"{device.name} shows {key} {times} times")
    for each in _everything(device):
        rows = history.get((each.sender, each.number), [])
        if each.id not in [row.id for row in rows]:
            yield Broken(NOT_IN_HISTORY, f"{device.name}: {each}")
        elif not (_is_unclear(each.chat, evidence) or any(_is_for(device, row) for row in rows)):
            yield Broken(LEAKED, f"{device.name}: {each}")
    yield from _order(device.name, there)  # an answer to what is gone comes late, from its owner
    for rows in history.values():
        for row in rows:
            if (row.id, device.user) in evidence.told:
                continue
            known = seen[row.sender, row.number] or row.id in device.told
            lacks = row in lost or row in evidence.holes
            known = known or (lacks and device.knows_to_miss(row))
            known = known or _is_unclear(row.chat, evidence)
            if _wanted(device, row) and not known:
                yield Broken(MISSING, f"{device.name} never shows {row}")


def _order(name: str, shown: Iterable[Shown]) -> Iterator[Broken]:
    highest: dict[tuple[str, str], int] = defaultdict(int)
    for each in shown:
        if each.id < highest[each.sender, each.chat]:
            yield Broken(SWAPPED, f"{name} shows {each} after {highest[each.sender, each.chat]}")
        highest[each.sender, each.chat] = each.id


def _is_unclear(chat: str, evidence: Evidence) -> bool:
    """Whether the history may know of changes in the group that its home's log has lost."""
    return chat == GROUP and evidence.loss.has_changes


def _is_for(device: DeviceRecord, row: Row) -> bool:
    return device.user in (row.sender, *row.recipients)


def _wanted(device: DeviceRecord, row: Row) -> bool:
    if not _is_for(device, row):
        return False
    if row.id in device.missed:
        return False
    written_here = any(send.number == row.number for send in device.sends)
    return written_here or (device.live_from is not None and row.number >= device.live_from)
